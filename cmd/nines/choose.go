package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nines-ha/nines/ground"
)

// groundFlags say which ground a command is about.
type groundFlags struct {
	file, name string
}

func (g *groundFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&g.file, "file", "f", "", "the description whose ground is meant (default: ./"+descriptionFile+", or the one that runs)")
	cmd.Flags().StringVar(&g.name, "name", "", "name of the system whose ground is meant")
	cmd.MarkFlagsMutuallyExclusive("file", "name")
}

// choose finds the name: as said, by the description here, or the only one that
// runs; with left, also the only one that has left something behind.
func (g *groundFlags) choose(left bool) (string, error) {
	if g.name != "" {
		return g.name, nil
	}
	file := g.file
	if file == "" {
		if _, err := os.Stat(descriptionFile); err == nil {
			file = descriptionFile
		}
	}
	if file != "" {
		sys, err := readSystem(file)
		if err != nil {
			return "", err
		}
		return string(sys.Name), nil
	}
	all, err := ground.Names()
	if err != nil {
		return "", err
	}
	var running []string
	for _, name := range all {
		if _, err := ground.Connect(name); err == nil {
			running = append(running, name)
		}
	}
	if len(running) == 0 && left {
		running = all
	}
	switch len(running) {
	case 0:
		return "", fmt.Errorf("the ground is %w; start one with \"nines up\"", ground.ErrNotRunning)
	case 1:
		return running[0], nil
	}
	return "", errors.New("several grounds are there: " + strings.Join(running, ", ") + "; name one with --name")
}

func (g *groundFlags) connect() (*ground.Client, error) {
	name, err := g.choose(false)
	if err != nil {
		return nil, err
	}
	return ground.Connect(name)
}
