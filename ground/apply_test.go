//go:build ground

package ground

import (
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// applyAgain applies what is there already, which changes nothing, and then
// less, which takes away what is no longer said, and only that.
func applyAgain(c *cluster, cache string) {
	apply := func(all bool) {
		c.t.Helper()
		files, err := workloads(cache, all, c.region)(c.t.Context())
		if err != nil {
			c.t.Fatal(err)
		}
		c.do("apply", c.ground.Apply(c.t.Context(), c.region, files[c.region]))
	}
	generations := func() string {
		c.t.Helper()
		list, err := c.AppsV1().Deployments(application).List(c.t.Context(), metav1.ListOptions{})
		if err != nil {
			c.t.Fatal(err)
		}
		text := ""
		for _, d := range list.Items {
			text += fmt.Sprintf("%s %s %d; ", d.Name, d.UID, d.Generation)
		}
		return text
	}
	before := generations()
	apply(true)
	if after := generations(); after != before {
		c.t.Errorf("the same files changed %s to %s", before, after)
	}
	web, err := c.AppsV1().Deployments(application).Get(c.t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	apply(false)
	for what, get := range map[string]func(name string) error{
		"deployment": func(name string) error {
			_, err := c.AppsV1().Deployments(application).Get(c.t.Context(), name, metav1.GetOptions{})
			return err
		},
		"autoscaler": func(name string) error {
			_, err := c.AutoscalingV2().HorizontalPodAutoscalers(application).Get(c.t.Context(), name, metav1.GetOptions{})
			return err
		},
	} {
		eventually(c.t, 20*time.Second, "the "+what+" busy is gone", func() error {
			if err := get("busy"); !apierrors.IsNotFound(err) {
				return fmt.Errorf("busy: %v", err)
			}
			return nil
		})
	}
	if now, err := c.AppsV1().Deployments(application).Get(c.t.Context(), "web", metav1.GetOptions{}); err != nil || now.UID != web.UID || now.Generation != web.Generation {
		c.t.Errorf("what stays was touched: %v", err)
	}
	if _, err := c.CoreV1().Secrets(application).Get(c.t.Context(), "marker", metav1.GetOptions{}); err != nil {
		c.t.Errorf("what others made: %v", err)
	}
}
