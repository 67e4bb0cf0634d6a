package argo

import "github.com/nines-ha/nines/system"

// Applications are the names of all that Argo CD has once it has synced the root.
func Applications(sys *system.System, o Options) []string {
	names := []string{rootProject}
	for _, r := range o.Regions {
		for _, c := range r.Platform {
			names = append(names, applicationName(c.Name, r.Name))
		}
		names = append(names, applicationName(Base, r.Name))
		for _, s := range sys.Services {
			names = append(names, applicationName(string(s.Name), r.Name))
		}
	}
	return names
}

func applicationName(app, region string) string { return app + "-" + region }
