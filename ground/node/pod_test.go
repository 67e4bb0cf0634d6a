package node

import (
	"strings"
	"testing"
)

func TestIsOf(t *testing.T) {
	const uid = "6a3ab5b2-8f0e-4d7c-9d0b-2f6c1c8b7a11"
	container := `812 700 0:58 / / ro,relatime - overlay overlay rw,lowerdir=/a
830 812 254:0 /state/run/fleet/nodes/n1/kubelet/pods/` + uid + `/etc-hosts /etc/hosts rw,relatime - ext4 /dev/vda rw
831 812 254:0 /state/run/fleet/nodes/n1/kubelet/pods/` + uid + `/containers/vehicle/1d2e3f /dev/termination-log rw,relatime - ext4 /dev/vda rw
`
	machine := `700 1 254:0 /state/run/fleet/nodes/n1/kubelet /var/lib/kubelet rw,relatime - ext4 /dev/vda rw
701 700 0:61 / /var/lib/kubelet/pods/` + uid + `/volumes/kubernetes.io~projected/token rw,relatime - tmpfs tmpfs rw
`
	for _, test := range []struct {
		name, mounts, uid string
		want              bool
	}{
		{"its container", container, uid, true},
		{"another pod", container, strings.Replace(uid, "6", "7", 1), false},
		{"no pod", container, "", false},
		{"the machine", machine, uid, false},
		{"a process that is gone", "", uid, false},
	} {
		if got := isOf(test.mounts, test.uid); got != test.want {
			t.Errorf("%s: %t", test.name, got)
		}
	}
}
