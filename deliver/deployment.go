package deliver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Trailers of the commits that deploy a service. By them a deployment is found
// again: what a tree holds does not tell who brought it when.
const (
	trailerService  = "Nines-Service"
	trailerImage    = "Nines-Image"
	trailerPrevious = "Nines-Previous"
	trailerVersion  = "Nines-Version"
	trailerRegions  = "Nines-Regions"
	trailerUndoes   = "Nines-Undoes" // commits, of a deployment that takes others back
)

// A Deployment is one commit that changed what of a service is to run.
type Deployment struct {
	Commit
	Service  string
	Image    string   // that is to run from then on
	Previous string   // that was to run before; "": none
	Version  string   // of the image, as people say it; may be ""
	Regions  []string // that this commit brings it to
	Undoes   []string // commits that it takes back
}

// Message is the message of the commit: who is its author, why comes from a person.
func (d Deployment) Message(why string) string {
	var b strings.Builder
	verb := "deploy"
	if len(d.Undoes) > 0 {
		verb = "roll back to"
	}
	fmt.Fprintf(&b, "%s: %s %s in %s\n", d.Service, verb, d.what(), strings.Join(d.Regions, ", "))
	if why = strings.TrimSpace(why); why != "" {
		fmt.Fprintf(&b, "\n%s\n", why)
	}
	from := d.Previous
	if from == "" {
		from = "nothing"
	}
	fmt.Fprintf(&b, "\nfrom %s\nto   %s\n\n", from, d.Image)
	for _, t := range [][2]string{
		{trailerService, d.Service}, {trailerImage, d.Image}, {trailerPrevious, d.Previous},
		{trailerVersion, d.Version}, {trailerRegions, strings.Join(d.Regions, " ")}, {trailerUndoes, strings.Join(d.Undoes, " ")},
	} {
		if t[1] != "" {
			fmt.Fprintf(&b, "%s: %s\n", t[0], t[1])
		}
	}
	return b.String()
}

func (d Deployment) what() string {
	if d.Version != "" {
		return d.Version
	}
	return ShortImage(d.Image)
}

// ShortImage is an image as people say it: its digest's first digits, or its tag.
func ShortImage(image string) string {
	if _, digest, ok := strings.Cut(image, "@sha256:"); ok {
		return digest[:min(len(digest), 12)]
	}
	if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		return image[i+1:]
	}
	return image
}

func deploymentOf(c Commit) (Deployment, bool) {
	d := Deployment{
		Commit: c, Service: c.Trailers[trailerService], Image: c.Trailers[trailerImage],
		Previous: c.Trailers[trailerPrevious], Version: c.Trailers[trailerVersion],
		Regions: strings.Fields(c.Trailers[trailerRegions]), Undoes: strings.Fields(c.Trailers[trailerUndoes]),
	}
	return d, d.Service != "" && d.Image != ""
}

// Deployments are those of a service, the newest first.
func (r *Repository) Deployments(ctx context.Context, service string) ([]Deployment, error) {
	commits, err := r.Log(ctx)
	var all []Deployment
	for _, c := range commits {
		if d, ok := deploymentOf(c); ok && d.Service == service {
			all = append(all, d)
		}
	}
	return all, err
}

// ErrNothing says that there is no deployment that could be taken back.
var ErrNothing = errors.New("nothing to roll back")

// Undoing chooses from a service's deployments, the newest first, those that a
// rollback takes back: the last one that still stands, or with to, a commit or its
// beginning, all that came after that one. A deployment has a commit for each
// region, where it gets to one region at a time.
func Undoing(all []Deployment, to string) ([]Deployment, error) {
	standing := groups(all)
	if to == "" {
		if len(standing) == 0 {
			return nil, fmt.Errorf("%w: Git has no deployment that was not taken back already", ErrNothing)
		}
		return standing[0], nil
	}
	if len(to) < 4 {
		return nil, fmt.Errorf("--to %s: name a commit by at least four digits", to)
	}
	at := slices.IndexFunc(standing, func(group []Deployment) bool {
		return slices.ContainsFunc(group, func(d Deployment) bool { return strings.HasPrefix(d.Hash, to) })
	})
	switch {
	case at < 0:
		known := []string{}
		for _, group := range standing[:min(len(standing), 5)] {
			known = append(known, Short(group[0].Hash)+" ("+group[0].what()+")")
		}
		if len(known) == 0 {
			known = append(known, "none")
		}
		return nil, fmt.Errorf("--to %s is no deployment of this service that still stands; the newest are %s", to, strings.Join(known, ", "))
	case at == 0:
		return nil, fmt.Errorf("%w: %s is the newest deployment that stands", ErrNothing, Short(standing[0][0].Hash))
	}
	return slices.Concat(standing[:at]...), nil
}

// groups are the deployments that still stand, each with its commits, the newest first.
func groups(all []Deployment) (standing [][]Deployment) {
	undone := map[string]bool{}
	for _, d := range all {
		for _, hash := range d.Undoes {
			undone[hash] = true
		}
		// What took others back stands no more than they do: nobody rolls back a rollback.
		if len(d.Undoes) > 0 || undone[d.Hash] {
			continue
		}
		if n := len(standing); n > 0 && standing[n-1][0].Image == d.Image && apart(standing[n-1], d) {
			standing[n-1] = append(standing[n-1], d)
			continue
		}
		standing = append(standing, []Deployment{d})
	}
	return standing
}

// apart says that a deployment is for other regions than those.
func apart(group []Deployment, d Deployment) bool {
	return !slices.ContainsFunc(group, func(other Deployment) bool {
		return slices.ContainsFunc(other.Regions, func(region string) bool { return slices.Contains(d.Regions, region) })
	})
}

// Undo makes the commit that takes these deployments of one service back, the
// newest first.
func (r *Repository) Undo(ctx context.Context, undone []Deployment, why string) (Deployment, error) {
	newest, oldest := undone[0], undone[len(undone)-1]
	d := Deployment{Service: newest.Service, Image: oldest.Previous, Previous: newest.Image}
	if d.Image == "" {
		return Deployment{}, fmt.Errorf("%w: %s is the first deployment of %s, nothing ran before", ErrNothing, Short(oldest.Hash), d.Service)
	}
	for _, u := range undone {
		d.Undoes = append(d.Undoes, u.Hash)
		for _, region := range u.Regions {
			if !slices.Contains(d.Regions, region) {
				d.Regions = append(d.Regions, region)
			}
		}
	}
	c, err := r.Revert(ctx, d.Message(why), d.Undoes...)
	d.Commit = c
	return d, err
}
