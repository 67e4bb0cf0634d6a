package git

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Outside is how programs of this machine reach the host: through a loopback
// port, which may be another one at the next start.
type Outside struct {
	Access
	File   string // that holds the Access
	CAFile string // the same authority as a file
	// Remote is the repository's name for as long as the system is called so, and
	// Config a file for git's include.path that leads from it to URL.
	Remote string
	Config string
}

// ErrNoFiles says that no host has published anything.
var ErrNoFiles = errors.New("no Git host has published its access")

// Publish writes what ReadOutside reads, for the one who owns the directory. port
// is where this machine reaches the host; program is the nines that git asks for
// the password.
func (h *Host) Publish(port int, program string) error {
	base := "https://127.0.0.1:" + strconv.Itoa(port)
	o := outside(h.config.Dir, h.access(Writer, base+Path, "127.0.0.1:"+strconv.Itoa(port)))
	access, err := json.Marshal(o.Access)
	if err != nil {
		return err
	}
	helper := fmt.Sprintf("!'%s' git credential --from '%s'", escape(program), escape(h.config.Dir))
	// A user's GIT_SSL_CAINFO comes before sslCAInfo, so there is a folder besides.
	config := fmt.Sprintf(`# Written by nines at each start, and gone with the ground.
[url %[1]s]
	insteadOf = %[2]s
[http %[1]s]
	sslCAInfo = %[3]s
	sslCAPath = %[6]s
	proxy =
[credential %[4]s]
	helper =
	helper = %[5]s
`, quote(base+"/"), quote("https://"+h.config.Host+"/"), quote(o.CAFile), quote(base), quote(helper), quote(filepath.Dir(o.CAFile)))
	if err := os.MkdirAll(filepath.Dir(o.CAFile), 0o700); err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		body []byte
	}{{o.CAFile, o.CA}, {o.Config, []byte(config)}, {o.File, access}} {
		if err := replace(f.name, f.body); err != nil {
			return err
		}
	}
	return nil
}

// ReadOutside finds what Publish has written into a directory.
func ReadOutside(dir string) (Outside, error) {
	var a Access
	file := outside(dir, a).File
	body, err := os.ReadFile(file)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return Outside{}, ErrNoFiles
	case err != nil:
		return Outside{}, err
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return Outside{}, fmt.Errorf("%s: %w", file, err)
	}
	return outside(dir, a), nil
}

func outside(dir string, a Access) Outside {
	return Outside{
		Access: a, Remote: "https://" + a.Host + Path,
		File: filepath.Join(dir, Writer+".json"), CAFile: filepath.Join(dir, "ca", "ca.crt"), Config: filepath.Join(dir, "gitconfig"),
	}
}

// replace writes a file that nobody sees half of.
func replace(name string, body []byte) error {
	next := name + ".next"
	if err := os.WriteFile(next, body, 0o600); err != nil {
		return err
	}
	return os.Rename(next, name)
}

// escape is for a word in single quotes of a shell.
func escape(word string) string { return strings.ReplaceAll(word, "'", `'\''`) }

// quote is for a value or a subsection of git's configuration.
func quote(value string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value) + `"`
}
