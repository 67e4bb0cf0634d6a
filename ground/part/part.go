// Package part holds what a ground is made of as data: parts with names, needs
// and a way to tell that they are ready. Order checks a list of parts and sorts
// it; a Runner starts each part when what it needs is ready, and on failure or at
// the end stops them in reverse. It knows no Kubernetes.
//
//	waiting ─needs ready─▶ starting ─Ready nil─▶ ready ─▶ stopping ─▶ stopped
//	                          └──── error ────▶ failed: everything started is stopped
package part

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nines-ha/nines/internal/process"
)

// Part is one thing that must be there. It is a program, or a step, or both in
// that order.
type Part struct {
	Name  string
	Needs []string // names of parts that must be ready before
	About string   // what it is, in a few words

	Program *process.Spec                   // nil for a step
	Prepare func(ctx context.Context) error // before the program; also the whole of a step
	Ready   func(ctx context.Context) error // asked until it answers nil; nil: ready once started
	Undo    func(ctx context.Context) error // of Prepare, after the program has ended; safe when Prepare failed half-way
	Within  time.Duration                   // to become ready; 0: 60 s
}

// Order sorts parts so that each comes after what it needs, keeping the given
// order otherwise. A need that is nobody, a name used twice and a circle are errors.
func Order(parts []Part) ([]Part, error) {
	byName := map[string]Part{}
	for _, p := range parts {
		if _, twice := byName[p.Name]; twice {
			return nil, fmt.Errorf("two parts are called %s", p.Name)
		}
		byName[p.Name] = p
	}
	var ordered []Part
	state := map[string]int{} // 1: being visited, 2: placed
	var visit func(p Part, path []string) error
	visit = func(p Part, path []string) error {
		switch state[p.Name] {
		case 1:
			return fmt.Errorf("parts need each other in a circle: %s", strings.Join(append(path, p.Name), " → "))
		case 2:
			return nil
		}
		state[p.Name] = 1
		for _, need := range p.Needs {
			q, ok := byName[need]
			if !ok {
				return fmt.Errorf("part %s needs %s, which no part provides", p.Name, need)
			}
			if err := visit(q, append(slices.Clone(path), p.Name)); err != nil {
				return err
			}
		}
		state[p.Name] = 2
		ordered = append(ordered, p)
		return nil
	}
	for _, p := range parts {
		if err := visit(p, nil); err != nil {
			return nil, err
		}
	}
	return ordered, nil
}
