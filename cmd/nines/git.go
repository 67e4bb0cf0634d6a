package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nines-ha/nines/ground"
)

func newGitCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "git",
		Short: "Clone the platform's repository from the ground's Git host",
		Long: `Git is for the repository that the running ground's Git host keeps, from which
its clusters are delivered. A clone that "nines git clone" has made is an ordinary
one: "git pull" and "git push" work in it whenever the ground runs, also after it
was down, when password and port are new. The repository itself stays until
"nines down --purge".`,
		Example: `  nines git clone
  cd platform && git log --oneline
  nines git url`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newGitCloneCommand(), newGitURLCommand(), newGitCredentialCommand())
	return cmd
}

// git finds how to reach the Git host of the ground that is meant.
func (g *groundFlags) git() (ground.GitAccess, error) {
	client, err := g.connect()
	if err != nil {
		return ground.GitAccess{}, err
	}
	access, err := client.Git()
	if errors.Is(err, ground.ErrNoGit) {
		return access, fmt.Errorf("%s has no Git host, or not yet: \"nines status\" shows a line that begins with git if it has; one comes with \"deliver\" in %s, at the next \"nines up\"", client.Name, descriptionFile)
	}
	return access, err
}

func newGitCloneCommand() *cobra.Command {
	var which groundFlags
	cmd := &cobra.Command{
		Use:   "clone [DIR] [-- ARGUMENTS]",
		Short: "Clone the repository, so that git pull and git push work in the clone",
		Long: `Clone runs "git clone" with the ground's authority and password, and has the clone
include a file of the ground that leads to them, whatever they are by then. Git
asks "nines git credential" for the password: it is in no argument and in no file
of the clone. While the ground is down git cannot resolve the host's name. What
follows -- goes to "git clone".`,
		Example: `  nines git clone
  nines git clone /tmp/platform -- --depth 1`,
		Args: func(cmd *cobra.Command, args []string) error {
			before := args
			if at := cmd.ArgsLenAtDash(); at >= 0 {
				before = args[:at]
			}
			return cobra.MaximumNArgs(1)(cmd, before)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			access, err := which.git()
			if err != nil {
				return err
			}
			program, err := exec.LookPath("git")
			if err != nil {
				return errors.New("git is not installed; run: nines doctor --fix")
			}
			var dir, more []string
			if at := cmd.ArgsLenAtDash(); at >= 0 {
				dir, more = args[:at], args[at:]
			} else {
				dir = args
			}
			arguments := append([]string{"-c", "include.path=" + access.Config, "clone", "--config", "include.path=" + access.Config}, more...)
			arguments = append(append(arguments, "--", access.Remote), dir...)
			clone := exec.CommandContext(cmd.Context(), program, arguments...)
			clone.Stdin, clone.Stdout, clone.Stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
			if err := clone.Run(); err != nil {
				return fmt.Errorf("git clone: %w", err)
			}
			return nil
		},
	}
	which.add(cmd)
	return cmd
}

func newGitURLCommand() *cobra.Command {
	var which groundFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "url",
		Short: "Print the repository's address on this machine",
		Long: `Url prints the address for programs of this machine, which is good until the
ground ends. --json adds the file of the authority that vouches for it and the
file that holds name and password.`,
		Example: `  nines git url
  git -c http.sslCAInfo=$(nines git url --json | jq -r .ca) ls-remote $(nines git url)`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			access, err := which.git()
			if err != nil {
				return err
			}
			if !asJSON {
				fmt.Fprintln(cmd.OutOrStdout(), access.URL)
				return nil
			}
			encoder := json.NewEncoder(cmd.OutOrStdout())
			encoder.SetIndent("", "  ")
			return encoder.Encode(map[string]string{
				"url": access.URL, "remote": access.Remote, "username": access.Username, "ca": access.CAFile, "access": access.File, "config": access.Config,
			})
		},
	}
	which.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newGitCredentialCommand() *cobra.Command {
	var which groundFlags
	var from string
	cmd := &cobra.Command{
		Use:   "credential OPERATION",
		Short: "Answer git, which asks for a password",
		Long: `Credential is a credential helper of git (gitcredentials(7)): for "get" it reads
what git wants to know from standard input, and answers if that is the ground's
Git host. It keeps nothing, so other operations do nothing.`,
		Example: `  printf 'protocol=https\nhost=127.0.0.1:7443\n\n' | nines git credential get`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] != "get" {
				return nil
			}
			find := which.git
			if from != "" {
				find = func() (ground.GitAccess, error) { return ground.ReadGitAccess(from) }
			}
			access, err := find()
			if err != nil {
				return err
			}
			return answerCredential(cmd.InOrStdin(), cmd.OutOrStdout(), access)
		},
	}
	which.add(cmd)
	cmd.Flags().StringVar(&from, "from", "", "`directory` of the ground that holds name and password (default: of the ground that is meant)")
	return cmd
}

// answerCredential says nothing about another host, or another user.
func answerCredential(in io.Reader, out io.Writer, access ground.GitAccess) error {
	asked := map[string]string{}
	lines := bufio.NewScanner(io.LimitReader(in, 64<<10))
	for lines.Scan() && lines.Text() != "" {
		key, value, _ := strings.Cut(lines.Text(), "=")
		asked[key] = value
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read what git asks: %w", err)
	}
	if asked["protocol"] != "https" || asked["host"] != access.Address && asked["host"] != access.Host {
		return nil
	}
	if user, given := asked["username"]; given && user != access.Username {
		return nil
	}
	_, err := fmt.Fprintf(out, "username=%s\npassword=%s\n", access.Username, access.Password)
	return err
}
