package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/nines-ha/nines/system"
)

const descriptionFile = "nines.yaml"

// readSystem reads a description. What is wrong with it is system.Errors.
func readSystem(name string) (*system.System, error) {
	const most = 1 << 20 // more than Parse takes
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; \"nines init\" writes one, -f names another", err)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	body, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return system.Parse(body, name)
}

// chooseRegion takes the region that is named, or the only one there is.
func chooseRegion(sys *system.System, name string) (string, error) {
	names := make([]string, len(sys.Regions))
	for i, r := range sys.Regions {
		names[i] = string(r.Name)
	}
	if _, ok := sys.Region(name); ok {
		return name, nil
	}
	switch {
	case name != "":
		return "", fmt.Errorf("%s has no region %q; choose from %s", sys.File, name, strings.Join(names, ", "))
	case len(names) > 1:
		return "", fmt.Errorf("%s has several regions; choose one with --region: %s", sys.File, strings.Join(names, ", "))
	}
	return names[0], nil
}
