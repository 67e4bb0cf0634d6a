package ground

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/nines-ha/nines/ground/engine"
	"github.com/nines-ha/nines/ground/image"
	"github.com/nines-ha/nines/ground/world"
	"github.com/nines-ha/nines/internal/cgroup"
	"github.com/nines-ha/nines/internal/namespace"
)

func (o *Owner) startWorld() error {
	var ports []int
	for i := range o.config.Regions {
		l, err := listenNear(firstAPIPort + i)
		if err != nil {
			return fmt.Errorf("listen for region %s: %w", o.config.Regions[i].Name, err)
		}
		o.api = append(o.api, l)
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	spec := o.config.spec(o.home, ports)
	var git net.Listener
	if o.config.Delivery {
		l, err := listenNear(firstGitPort)
		if err != nil {
			return fmt.Errorf("listen for the Git host: %w", err)
		}
		git, spec.GitPort = l, l.Addr().(*net.TCPAddr).Port
	}
	g, err := cgroup.Open(spec.Group)
	if err != nil {
		return err
	}
	system := g.Child("system")
	if err := system.Make(); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	in, feed, err := os.Pipe()
	if err != nil {
		return err
	}
	defer feed.Close()
	cmd := exec.Command(self, world.StageName)
	cmd.ExtraFiles = []*os.File{in}
	cmd.Stderr = o.log
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "GOMEMLIMIT=512MiB")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true, // Ctrl-C is for the owner
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
	}
	err = cmd.Start()
	in.Close()
	if err != nil {
		return fmt.Errorf("start the world: %w", err)
	}
	o.child, o.input = cmd, json.NewEncoder(stdin)
	events := make(chan struct{})
	go func() { defer close(events); o.listen(stdout) }()
	go func() {
		<-events
		_ = cmd.Wait()
		close(o.gone)
	}()
	if err := system.Add(cmd.Process.Pid); err != nil {
		_ = cmd.Process.Kill()
		return err
	}
	if o.inside, err = namespace.NetOf(cmd.Process.Pid); err != nil {
		_ = cmd.Process.Kill()
		return err
	}
	for i := range o.config.Regions {
		o.apis = append(o.apis, newForward(o.api[i], o.inside, net.JoinHostPort(world.APIServerAddress(i), strconv.Itoa(firstAPIPort))))
	}
	if git != nil {
		o.apis = append(o.apis, newForward(git, o.inside, world.GitAddress()))
	}
	return json.NewEncoder(feed).Encode(spec)
}

// listen follows the world's events until it ends.
func (o *Owner) listen(events io.Reader) {
	decoder := json.NewDecoder(events)
	for {
		var e world.Event
		if err := decoder.Decode(&e); err != nil {
			return
		}
		switch {
		case e.Part != nil:
			o.mu.Lock()
			o.parts[e.Part.Part] = e.Part.State
			o.mu.Unlock()
			o.followGit(*e.Part)
		case e.Make != "":
			o.making.Go(func() { o.makeImage(e.Make) })
		case e.Frontends != nil:
			o.expose(*e.Frontends)
		case e.Err != "":
			o.mu.Lock()
			o.failure = errors.New(e.Err)
			o.mu.Unlock()
		case e.Up:
			o.becomeReady()
		}
	}
}

func (o *Owner) send(m world.Message) error {
	o.inputs.Lock()
	defer o.inputs.Unlock()
	if err := o.input.Encode(m); err != nil {
		return fmt.Errorf("tell the world: %w", err)
	}
	return nil
}

// makeImage makes what a pull in the ground has asked for. The registry asks for
// one reference once at a time.
func (o *Owner) makeImage(reference string) {
	answer := world.Message{Made: reference}
	err := func() error {
		store, err := image.Open(filepath.Join(o.config.Cache, "images"))
		if err != nil {
			return err
		}
		catalogue := &image.Catalogue{Store: store, Engines: &engine.Builder{
			CacheDir: o.config.Cache, Source: o.config.Engines, Own: map[string]string{image.Envoy: o.config.Envoy}, Progress: o.tellMaking,
		}}
		return catalogue.Provide(o.life, reference)
	}()
	if err != nil {
		answer.Err, answer.Unknown = err.Error(), errors.Is(err, image.ErrNotFound)
	}
	_ = o.send(answer) // a world that is gone needs no answer
}

// endWorld lets the stores write their last, then ends everything.
func (o *Owner) endWorld() {
	thaw(o.config.Name)
	_ = o.send(world.Message{Stop: true})
	select {
	case <-o.gone:
	case <-time.After(25 * time.Second):
	}
	_ = o.child.Process.Kill()
	thaw(o.config.Name) // what was frozen since
	<-o.gone
	if o.inside != nil {
		o.inside.Close()
	}
}
