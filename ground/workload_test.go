//go:build ground

package ground

import (
	"context"
	"strings"
)

// application is the namespace of the test's own workloads.
const application = "proof"

// workloads are the files of a region: a spread Deployment behind a load
// balancer, and with more of everything what the rest of the tests need.
func workloads(cache string, all bool, regions ...string) func(context.Context) (map[string][]File, error) {
	return func(ctx context.Context) (map[string][]File, error) {
		image, err := serverImage(ctx, cache)
		if err != nil {
			return nil, err
		}
		text := web
		if all {
			text += more
		}
		text = strings.NewReplacer("CONTAINER", container, "SECURE", secure).Replace(text)
		text = strings.ReplaceAll(text, "IMAGE", image)
		files := map[string][]File{}
		for _, r := range regions {
			files[r] = []File{{Path: "workloads.yaml", Body: []byte(text)}}
		}
		return files, nil
	}
}

const secure = `{runAsNonRoot: true, runAsUser: 65532, fsGroup: 65532, seccompProfile: {type: RuntimeDefault}}`

const container = `name: server, image: "IMAGE", stdin: true, ports: [{name: http, containerPort: 8080}],
          readinessProbe: {httpGet: {port: http}, periodSeconds: 1},
          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}},
          resources: {requests: {cpu: 50m, memory: 32Mi}, limits: {memory: 64Mi}}`

const web = `
apiVersion: v1
kind: Namespace
metadata: {name: proof, labels: {pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: proof}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      securityContext: SECURE
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}
      containers:
      - {CONTAINER,
          env: [{name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}},
                {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}},
                {name: ZONE, valueFrom: {fieldRef: {fieldPath: "metadata.labels['topology.kubernetes.io/zone']"}}}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: proof}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 80, targetPort: http}]}
`

const more = `---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web, namespace: proof}
spec: {minAvailable: 4, selector: {matchLabels: {app: web}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: disk, namespace: proof}
spec:
  serviceName: web
  selector: {matchLabels: {app: disk}}
  template:
    metadata: {labels: {app: disk}}
    spec:
      terminationGracePeriodSeconds: 1
      securityContext: SECURE
      containers: [{CONTAINER, volumeMounts: [{name: data, mountPath: /data}]}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: busy, namespace: proof}
spec:
  selector: {matchLabels: {app: busy}}
  template:
    metadata: {labels: {app: busy}}
    spec:
      securityContext: SECURE
      containers: [{CONTAINER, env: [{name: BURN_PERCENT, value: "10"}]}]
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: busy, namespace: proof}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: busy}
  minReplicas: 1
  maxReplicas: 2
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 60}}}]
`
