package engine

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWheelIsHeldAgainstItsChecksum unpacks a wheel that is there, as pip leaves it.
func TestWheelIsHeldAgainstItsChecksum(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "tool-1.0-py3-none-any.whl")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(f)
	w, err := z.Create("tool/_bin/tool")
	if err == nil {
		_, err = w.Write([]byte("program"))
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil || f.Close() != nil {
		t.Fatal(err)
	}
	body, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(body)
	wheel := Wheel{Name: "tool", Version: "1.0", SHA256: strings.Repeat("0", 64), File: "tool/_bin/tool"}
	if err := wheel.unpack(dir); err == nil || !strings.Contains(err.Error(), "as pinned") {
		t.Errorf("a wheel of another checksum: %v", err)
	}
	wheel.SHA256 = hex.EncodeToString(sum[:])
	if err := wheel.unpack(dir); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(filepath.Join(dir, "unpacked", "tool"))
	if err != nil || string(program) != "program" {
		t.Errorf("program = %q, %v", program, err)
	}
}
