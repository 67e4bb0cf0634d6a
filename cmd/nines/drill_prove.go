package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/nines-ha/nines/drill"
	"github.com/nines-ha/nines/drill/claim"
	"github.com/nines-ha/nines/drill/fault"
	"github.com/nines-ha/nines/drill/report"
	"github.com/nines-ha/nines/drill/twin"
	"github.com/nines-ha/nines/system"
)

// proof is what became of a twin: the drill on the system as it is, and on the
// system with the mistake.
type proof struct {
	Twin   string         `json:"twin"`
	Drill  string         `json:"drill"`
	Claim  string         `json:"claim"`
	Proven bool           `json:"proven"`
	Why    string         `json:"why"`
	Good   *claim.Verdict `json:"good"`
	Bad    *claim.Verdict `json:"bad"`
}

// prove plays a twin's drill on the system as it is, where the claim must hold,
// and on the twin, where it must be refuted, for the twin's own reason.
func (f *drillFlags) prove(cmd *cobra.Command, name string) error {
	t, err := twin.Find(name)
	if err != nil {
		return err
	}
	if elsewhere, _ := f.elsewhere(); elsewhere {
		return errors.New("a twin is a mistake patched into the running system: only a ground is given one")
	}
	if f.record != "" || f.html != "" {
		return errors.New("--record and --html are for one drill; a proof is two, and keeps a record of each in the ground's folder")
	}
	d, err := drill.Find(t.Drill)
	if err != nil {
		return err
	}
	stage, err := f.stage(cmd)
	if err != nil {
		return err
	}
	defer stage.close()
	p, err := stage.prove(cmd.Context(), t, d)
	if err != nil {
		return err
	}
	one := report.Untold{Name: "prove " + p.Twin, Why: p.Why, Kind: report.Proven}
	if !p.Proven {
		one.Kind = report.NotProven
	}
	if err := f.writeJUnit(nil, one); err != nil {
		return err
	}
	if f.json {
		err = printJSON(cmd.OutOrStdout(), p)
	} else if err = report.Table(cmd.OutOrStdout(), []*claim.Verdict{p.Good, p.Bad}); err == nil {
		word := "PROVEN"
		if !p.Proven {
			word = "NOT PROVEN"
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "\n%s: %s\n", word, p.Why)
	}
	switch {
	case err != nil || p.Proven:
		return err
	case p.Good.Verdict == claim.Inconclusive || p.Bad.Verdict == claim.Inconclusive:
		return errInconclusive
	}
	return errNo
}

func (s *stage) prove(ctx context.Context, t twin.Twin, d drill.Drill) (*proof, error) {
	if t.Mesh && !s.site.Mesh {
		return nil, fmt.Errorf("the twin %s is a mistake in a mesh, and there is none here", t.Name)
	}
	p := &proof{Twin: t.Name, Drill: d.Name, Claim: t.Claim}
	good, header, err := s.run(ctx, d, "", nil)
	if err != nil {
		return nil, err
	}
	p.Good = good
	// The first drill may have left the replicas together: the twin must have no
	// mistake but its own.
	_, err = fault.Spread(ctx, &s.site, func(name string) {
		s.story.say("will restart %s, because its replicas do not stand evenly in the zones", name)
	})
	if err != nil {
		return nil, err
	}
	sys, err := t.Edit(s.sys, s.site.Service)
	if err != nil {
		return nil, err
	}
	back, err := s.become(ctx, t, sys)
	if err != nil {
		return nil, err
	}
	s.flags.declare(sys.Clients)
	s.site.Variant = t.Variant
	p.Bad, _, err = s.run(ctx, d, t.Name, &header.Service)
	s.site.Variant = ""
	s.flags.declare(s.sys.Clients)
	if err := errors.Join(err, back()); err != nil {
		return nil, err
	}
	p.Proven, p.Why = t.Proven(p.Good, p.Bad)
	return p, nil
}

// become patches the twin's mistake into the running system. The function that
// undoes it must be called; when this program is killed before, it is undone too.
func (s *stage) become(ctx context.Context, t twin.Twin, sys *system.System) (func() error, error) {
	good, err := manifests(ctx, s.sys, s.site.Mesh)
	if err != nil {
		return nil, err
	}
	bad, err := manifests(ctx, sys, s.site.Mesh)
	if err != nil {
		return nil, err
	}
	files, err := t.Patch(bad[s.site.Region], s.site.Service)
	if err != nil {
		return nil, err
	}
	for _, change := range t.Changes {
		s.story.say("twin %s: %s", t.Name, change)
	}
	undo, alter, err := fault.Alter(ctx, &s.site, t.Platform)
	if err != nil {
		return nil, fmt.Errorf("twin %s: %w", t.Name, err)
	}
	healer, err := fault.StartHealer(ctx, s.site.Access, append(undo, fault.Heal{Do: "apply", Region: s.site.Region, Files: good[s.site.Region]}))
	if err != nil {
		return nil, err
	}
	back := func() error {
		const enough = 3 * time.Minute
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), enough)
		defer cancel()
		s.story.say("twin %s: giving the system back its own files", t.Name)
		err := healer.Heal(ctx)
		healer.Release()
		return err
	}
	if err := s.site.Ground.Apply(ctx, s.site.Region, files); err != nil {
		return nil, errors.Join(fmt.Errorf("apply the twin %s: %w", t.Name, err), back())
	}
	if err := alter(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("alter the platform as the twin %s has it: %w", t.Name, err), back())
	}
	select {
	case <-time.After(t.Settle):
		return back, nil
	case <-ctx.Done():
		return nil, errors.Join(context.Cause(ctx), back())
	}
}
