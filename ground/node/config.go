package node

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"text/template"
)

//go:embed kubelet.yaml.tmpl
var kubeletConfig string

//go:embed containerd.toml.tmpl
var containerdConfig string

//go:embed cni.conflist.tmpl
var cniConfig string // a template that containerd fills in when the kubelet learns the node's pod network

// write puts the machine's configuration on its disk. Keys are readable by root alone.
func (n *Node) write() error {
	values := struct {
		Config
		MachineDir, CRIRoot, KubeletRoot, Containerd, Runc, Sandbox, CNIConfig, CNIPrograms string
	}{n.config, machineDir, criRoot, kubeletRoot, n.seen("containerd"), n.seen("runc"), SandboxImage, CNIConfig, CNIPrograms}
	files := map[string][]byte{
		"ca.crt":                      n.config.CA,
		"kubelet.kubeconfig":          n.config.Kubeconfig,
		"proxy.kubeconfig":            n.config.ProxyKubeconfig,
		"serving.crt":                 n.config.Serving.Cert,
		"serving.key":                 n.config.Serving.Key,
		"resolv.conf":                 fmt.Appendf(nil, "nameserver %s\n", n.config.Resolver),
		"cni.conflist.tmpl":           []byte(cniConfig),
		"certs.d/_default/hosts.toml": n.config.Mirror,
	}
	for name, text := range map[string]string{"kubelet.yaml": kubeletConfig, "containerd.toml": containerdConfig} {
		t, err := template.New(name).Option("missingkey=error").Parse(text)
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if err := t.Execute(&b, values); err != nil {
			return err
		}
		files[name] = b.Bytes()
	}
	for name, body := range files {
		path := filepath.Join(n.config.Disk, "etc", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, body, 0o600); err != nil {
			return err
		}
	}
	return os.MkdirAll(filepath.Join(n.config.Disk, "etc/cni"), 0o700)
}

func (n *Node) stage() ([]byte, error) {
	return json.Marshal(stage{
		Hostname: n.config.Name,
		Disk:     n.config.Disk,
		ReadOnly: map[string]string{n.config.Engines: enginesDir},
		Shared:   n.config.Shared,
		Pause:    n.seen("pause"),
		Files: map[string]string{
			"vm/overcommit_memory":      "1",
			"vm/panic_on_oom":           "0",
			"kernel/panic":              "10",
			"kernel/panic_on_oops":      "1",
			"kernel/keys/root_maxkeys":  "1000000",
			"kernel/keys/root_maxbytes": "25000000",
		},
	})
}
