package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/nines-ha/nines/deliver"
	"github.com/nines-ha/nines/ground"
	"github.com/nines-ha/nines/render"
	"github.com/nines-ha/nines/render/argo"
	"github.com/nines-ha/nines/system"
)

// A delivery is what deploy and rollback need to know: where Git is, what lies in
// it, and where Argo is at work.
type delivery struct {
	Access deliver.Access
	// Folder of the repository is the environment. What is beside it stays.
	Folder string
	// Follower has every region, in the order in which a release comes to them.
	Follower *deliver.Follower
	// Together says that a commit changes every region; otherwise there is one for
	// each, when the region before is healthy.
	Together bool
	// Kind of what runs the service.
	Kind string
	// Images are those that the tree has for a region, by service.
	Images func(tree []render.File, region string) (map[string]string, error)
	// Render is the tree anew, with these images in a region.
	Render func(tree []render.File, region string, images map[string]string) ([]render.File, error)
}

// DeliveryFunc finds the delivery of a service on the ground that runs.
type DeliveryFunc func(ctx context.Context, sys *system.System, service string) (*delivery, error)

// connectDelivery is the one place that knows the ground's Git host, its Argo CD
// and how render lays out the repository.
func connectDelivery(ctx context.Context, sys *system.System, service string) (*delivery, error) {
	client, err := ground.Connect(string(sys.Name))
	if err != nil {
		return nil, err
	}
	status, err := client.Status(ctx)
	switch {
	case err != nil:
		return nil, err
	case !status.Ready:
		return nil, fmt.Errorf("%s is not ready yet: %s; see \"nines status\"", status.Name, status.Phase)
	}
	host, err := client.Git()
	switch {
	case errors.Is(err, ground.ErrNoGit):
		return nil, fmt.Errorf("%s has no Git host and no Argo CD: this ground applies what is described itself; bring a change to it with \"nines apply\"", status.Name)
	case err != nil:
		return nil, err
	case !sys.Deliver.On():
		return nil, fmt.Errorf("%s does not say deliver, and the ground %s does; see that they are the same", sys.File, status.Name)
	}
	environment := string(sys.Deliver.Environment)
	d := &delivery{
		Access: access(host), Folder: argo.Folder(environment), Together: sys.Deliver.Regions == system.Together, Kind: deliver.KindDeployment,
		Images: func(tree []render.File, region string) (map[string]string, error) {
			return argo.Releases(tree, environment, region)
		},
		Render: func(tree []render.File, region string, images map[string]string) ([]render.File, error) {
			return release(sys, tree, region, images)
		},
	}
	if s, _ := sys.Service(service); s.Canary.On() {
		d.Kind = deliver.KindRollout
	}
	d.Follower, err = followAll(sys, service, status.Kubeconfig)
	return d, err
}

// followAll looks at every cluster of a ground with an administrator's eyes.
func followAll(sys *system.System, service, kubeconfig string) (*deliver.Follower, error) {
	f := &deliver.Follower{}
	for _, r := range sys.Regions {
		config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
			&clientcmd.ClientConfigLoadingRules{ExplicitPath: kubeconfig}, &clientcmd.ConfigOverrides{CurrentContext: string(r.Name)},
		).ClientConfig()
		if err != nil {
			return nil, fmt.Errorf("read kubeconfig: %w", err)
		}
		config.QPS, config.Burst, config.UserAgent = 50, 100, "nines-deploy" // of its own accord a client waits longer than a look may take
		objects, err := dynamic.NewForConfig(config)
		if err != nil {
			return nil, err
		}
		if f.Argo == nil {
			f.Argo = objects
		}
		f.Regions = append(f.Regions, deliver.Region{Name: string(r.Name), Application: argo.ApplicationName(service, string(r.Name)), Objects: objects})
	}
	return f, nil
}

// deliveryFlags are the same for deploy and rollback.
type deliveryFlags struct {
	file, why string
	timeout   time.Duration
	json      bool
}

func (f *deliveryFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.file, "file", "f", descriptionFile, "the description")
	cmd.Flags().StringVarP(&f.why, "message", "m", "", "why: it goes into the commit's message")
	cmd.Flags().DurationVar(&f.timeout, "timeout", 20*time.Minute, "stop following after this long; what was pushed goes on")
	cmd.Flags().BoolVar(&f.json, "json", false, "print each commit and event as a line of JSON, and the verdict at the end")
}

// A journey is one deploy or rollback on its way.
type journey struct {
	*delivery
	deliveryFlags
	sys        *system.System
	service    string
	repository *deliver.Repository
	story      *deliveryStory
	head       string // newest commit of Git when the journey began
}

// begin finds the delivery and clones the repository. Whoever began calls end.
func (f deliveryFlags) begin(cmd *cobra.Command, find DeliveryFunc, service string) (*journey, error) {
	if f.timeout <= 0 {
		return nil, errors.New("--timeout is how long to follow, such as 20m")
	}
	if len(f.why) > 10_000 {
		return nil, errors.New("--message is too long: say why in a few sentences")
	}
	sys, err := readSystem(f.file)
	if err != nil {
		return nil, err
	}
	if _, ok := sys.Service(service); !ok {
		return nil, fmt.Errorf("%s has no service %q; choose from %s", sys.File, service, strings.Join(serviceNames(sys), ", "))
	}
	found, err := find(cmd.Context(), sys, service)
	if err != nil {
		return nil, err
	}
	j := &journey{delivery: found, deliveryFlags: f, sys: sys, service: service, story: newDeliveryStory(cmd.ErrOrStderr())}
	if f.json {
		j.story.lines = cmd.OutOrStdout()
	}
	j.Follower.Timeout = f.timeout
	if j.repository, err = deliver.Clone(cmd.Context(), found.Access, author(cmd.Context())); err != nil {
		return nil, j.interrupted(cmd.Context(), err)
	}
	if j.head, err = j.repository.Head(cmd.Context()); err == nil && j.head == "" {
		err = errors.New("the repository is empty; \"nines up\" fills it")
	}
	if err != nil {
		j.end()
		return nil, j.interrupted(cmd.Context(), err)
	}
	return j, nil
}

func (j *journey) end() {
	if err := j.repository.Close(); err != nil {
		j.story.say("cannot remove the clone: %v", err)
	}
}

// interrupted says that nothing has happened, if that is so.
func (j *journey) interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil && !errors.Is(err, deliver.ErrUnsure) {
		return errors.New("interrupted before anything was pushed; nothing has changed")
	}
	return err
}

func (j *journey) regions() (names []string) {
	for _, r := range j.Follower.Regions {
		names = append(names, r.Name)
	}
	return names
}

// image is what the tree says that a region is to run; "" if it says nothing.
func (j *journey) image(region string) (string, error) {
	tree, err := j.repository.Files()
	if err != nil {
		return "", err
	}
	images, err := j.Images(tree, region)
	return images[j.service], err
}

// change renders the tree with another image of the service in these regions, and
// commits what differs.
func (j *journey) change(ctx context.Context, d deliver.Deployment) (deliver.Deployment, error) {
	for _, region := range d.Regions {
		tree, err := j.repository.Files()
		if err != nil {
			return d, err
		}
		images, err := j.Images(tree, region)
		if err != nil {
			return d, err
		}
		if d.Previous == "" {
			d.Previous = images[j.service]
		}
		images[j.service] = d.Image
		files, err := j.Render(tree, region, images)
		if err != nil {
			return d, err
		}
		rendered := map[string]bool{}
		for _, f := range files {
			rendered[f.Path] = true
		}
		for _, f := range tree { // other environments
			if !rendered[f.Path] && !strings.HasPrefix(f.Path, path.Clean(j.Folder)+"/") {
				files = append(files, f)
			}
		}
		if _, err := j.repository.Replace(files); err != nil {
			return d, err
		}
	}
	c, err := j.repository.Commit(ctx, d.Message(j.why))
	d.Commit = c
	return d, err
}

// follow tells how a deployment arrives.
func (j *journey) follow(ctx context.Context, d deliver.Deployment) deliver.Verdict {
	follower := j.Follower.In(d.Regions...)
	if len(follower.Regions) == 0 { // a commit that does not say where it goes
		follower = j.Follower
	}
	release := deliver.Release{
		Service: j.service, Namespace: string(j.sys.Name), Kind: j.Kind, Revision: d.Hash, Image: d.Image, Previous: d.Previous,
	}
	return follower.Follow(ctx, release, j.story.event)
}

// pushed tells of a commit, has Argo CD look at it now, and follows it.
func (j *journey) pushed(ctx context.Context, d deliver.Deployment) deliver.Verdict {
	j.story.commit(d)
	if err := j.Follower.In(d.Regions...).Refresh(ctx); err != nil && ctx.Err() == nil {
		j.story.say("%v; it looks by itself in a while", err)
	}
	return j.follow(ctx, d)
}

// conclude tells the verdict, and is the exit code it asks for.
func (j *journey) conclude(v deliver.Verdict) error {
	j.story.verdict(v)
	switch v.Outcome {
	case deliver.Promoted:
		return nil
	case deliver.Aborted, deliver.Refused:
		return errNo
	}
	return errInconclusive
}

func serviceNames(sys *system.System) (names []string) {
	for _, s := range sys.Services {
		names = append(names, string(s.Name))
	}
	return names
}

// author is who sits here, as git knows them, or else as the machine does.
func author(ctx context.Context) deliver.Author {
	ask := func(key string) string {
		out, _ := exec.CommandContext(ctx, "git", "config", "--get", key).Output()
		return strings.TrimSpace(string(out))
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	login := os.Getenv("SUDO_USER")
	if u, err := user.Current(); err == nil && login == "" {
		login = u.Username
	}
	login = cmp.Or(login, "nobody")
	return deliver.Author{Name: cmp.Or(ask("user.name"), login), Email: cmp.Or(ask("user.email"), login+"@"+host)}
}

// describe is the version of a source as git says it; "" where git knows none.
func describe(ctx context.Context, dir string) string {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "git", "-C", dir, "describe", "--always", "--dirty", "--tags").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
