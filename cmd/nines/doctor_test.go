package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/nines-ha/nines/ground/doctor"
)

func TestDoctorAnswers(t *testing.T) {
	var stdout, stderr bytes.Buffer
	command := newDoctorCommand()
	command.SetArgs([]string{"--json"})
	command.SetOut(&stdout)
	command.SetErr(&stderr)
	err := command.ExecuteContext(t.Context())
	var report doctor.Report
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil {
		t.Fatalf("stdout is not the answer: %v\n%s", err, stdout.Bytes())
	}
	if len(report.Checks) != len(doctor.Checks()) {
		t.Errorf("%d checks answered, want %d", len(report.Checks), len(doctor.Checks()))
	}
	if report.Ready != (err == nil) || err != nil && !errors.Is(err, errNo) {
		t.Errorf("ready is %v with error %v", report.Ready, err)
	}
}
