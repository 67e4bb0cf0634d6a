package fault

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nines-ha/nines/record"
)

func podKill(_ context.Context, sc *scene) (*Injection, error) {
	victim := sc.pods[sc.dice.IntN(len(sc.pods))]
	pods := sc.site.Kube.CoreV1().Pods(victim.Namespace)
	return &Injection{
		Touches: []string{fmt.Sprintf("delete pod %s, one of the %d ready pods of %s, with no grace period", victim.Name, len(sc.pods), sc.site.Service)},
		inject: func(ctx context.Context, tell func(record.Event)) error {
			tell(record.Event{
				Kind: record.Fault, Name: victim.Name, State: done, Node: victim.Spec.NodeName, Zone: sc.zoneOf(victim.Spec.NodeName),
				Text: "pod " + victim.Name + " deleted with no grace period",
			})
			err := pods.Delete(ctx, victim.Name, metav1.DeleteOptions{
				GracePeriodSeconds: new(int64(0)), Preconditions: &metav1.Preconditions{UID: &victim.UID},
			})
			if err != nil {
				return fmt.Errorf("delete pod %s: %w", victim.Name, err)
			}
			return until(ctx, "wait for the end of pod "+victim.Name, func(ctx context.Context) error {
				return gone(ctx, sc, victim.Name, victim.UID)
			})
		},
	}, nil
}

// gone says nil when there is no pod of that name and identity.
func gone(ctx context.Context, sc *scene, name string, uid types.UID) error {
	now, err := sc.site.Kube.CoreV1().Pods(sc.site.Namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return err
	case now.UID != uid:
		return nil
	}
	return fmt.Errorf("pod %s is still there", name)
}
