package argo

import (
	"path"

	"github.com/nines-ha/nines/system"
)

// Applications are the names of all that Argo CD has once it has synced the root.
func Applications(sys *system.System, o Options) []string {
	names := []string{rootProject}
	for _, r := range o.Regions {
		for _, c := range r.Platform {
			names = append(names, ApplicationName(c.Name, r.Name))
		}
		names = append(names, ApplicationName(Base, r.Name))
		for _, s := range sys.Services {
			names = append(names, ApplicationName(string(s.Name), r.Name))
		}
	}
	return names
}

// ApplicationName is what the Application of a component or service is called.
func ApplicationName(app, region string) string { return app + "-" + region }

// Folder is where an environment is in the repository.
func Folder(environment string) string { return path.Join("environments", environment) }
