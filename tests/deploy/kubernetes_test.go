package deploy

import (
	"io"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigs "sigs.k8s.io/yaml"

	"github.com/spillwaydb/spillway/tests/product"
)

// manifests are the objects of deploy/kubernetes.
type manifests struct {
	deployments map[string]*appsv1.Deployment
	services    map[string]*corev1.Service
	configs     map[string]*corev1.ConfigMap
	secrets     map[string]*corev1.Secret
	budgets     map[string]*policyv1.PodDisruptionBudget
	namespaces  map[string]*corev1.Namespace
}

// decode reads one object into the type of its kind; a field that the type does not have is an error.
func decode[T any](t *testing.T, text []byte, into map[string]*T) {
	t.Helper()
	obj := new(T)
	if err := sigs.UnmarshalStrict(text, obj); err != nil {
		t.Errorf("%v in\n%s", err, text)
	}
	into[any(obj).(metav1.Object).GetName()] = obj
}

func load(t *testing.T) *manifests {
	t.Helper()
	m := &manifests{map[string]*appsv1.Deployment{}, map[string]*corev1.Service{}, map[string]*corev1.ConfigMap{}, map[string]*corev1.Secret{},
		map[string]*policyv1.PodDisruptionBudget{}, map[string]*corev1.Namespace{}}
	files, err := filepath.Glob(filepath.Join(product.Root(), "deploy/kubernetes/*.yaml"))
	must(t, err)
	applied := read(t, "deploy/kubernetes/kustomization.yaml")
	for _, file := range files {
		name := filepath.Base(file)
		if name == "kustomization.yaml" {
			continue
		}
		if strings.Contains(applied, "\n  - "+name+"\n") == strings.Contains(name, "example") {
			t.Errorf("%s: kustomization.yaml must apply all but examples", name)
		}
		docs := yaml.NewDocumentDecoder(io.NopCloser(strings.NewReader(read(t, "deploy/kubernetes/"+name))))
		buf := make([]byte, 1<<20)
		for {
			n, err := docs.Read(buf)
			if err == io.EOF {
				break
			}
			must(t, err)
			m.add(t, name, slices.Clone(buf[:n]))
		}
	}
	return m
}

func (m *manifests) add(t *testing.T, file string, text []byte) {
	t.Helper()
	var kind metav1.TypeMeta
	must(t, sigs.Unmarshal(text, &kind))
	switch kind.APIVersion + " " + kind.Kind {
	case "apps/v1 Deployment":
		decode(t, text, m.deployments)
	case "v1 Service":
		decode(t, text, m.services)
	case "v1 ConfigMap":
		decode(t, text, m.configs)
	case "v1 Secret":
		decode(t, text, m.secrets)
	case "policy/v1 PodDisruptionBudget":
		decode(t, text, m.budgets)
	case "v1 Namespace":
		decode(t, text, m.namespaces)
	default:
		t.Errorf("%s: unknown kind %+v", file, kind)
	}
}

// Every manifest is what Kubernetes takes, and what belongs together does.
func TestKubernetesObjects(t *testing.T) {
	t.Parallel()
	m := load(t)
	if len(m.deployments) != 2 || len(m.services) != 1 || len(m.configs) != 1 || len(m.budgets) != 2 || len(m.namespaces) != 1 || len(m.secrets) != 2 {
		t.Fatalf("objects are missing: %+v", m)
	}
	for name, d := range m.deployments {
		pod := d.Spec.Template
		for what, selector := range map[string]*metav1.LabelSelector{"deployment": d.Spec.Selector, "budget": m.budgets[name].Spec.Selector} {
			s, err := metav1.LabelSelectorAsSelector(selector)
			if err != nil || s.Empty() || !s.Matches(labels.Set(pod.Labels)) {
				t.Errorf("the selector of the %s does not fit the pods of %s: %v", what, name, err)
			}
		}
		if d.Namespace != "spillway" || *d.Spec.Replicas < 2 {
			t.Errorf("%s: namespace %s, %d replicas", name, d.Namespace, *d.Spec.Replicas)
		}
		// No container has more than it needs: the namespace enforces the restricted profile.
		c, sc := pod.Spec.Containers[0], pod.Spec.SecurityContext
		if !*sc.RunAsNonRoot || *sc.RunAsUser != 65532 || sc.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault || *c.SecurityContext.AllowPrivilegeEscalation ||
			!*c.SecurityContext.ReadOnlyRootFilesystem || !slices.Equal(c.SecurityContext.Capabilities.Drop, []corev1.Capability{"ALL"}) || *pod.Spec.AutomountServiceAccountToken {
			t.Errorf("%s may do more than it needs", name)
		}
		if c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() || !c.Resources.Limits.Cpu().IsZero() {
			t.Errorf("%s: resources %+v", name, c.Resources)
		}
		volumes := map[string]bool{}
		for _, v := range pod.Spec.Volumes {
			volumes[v.Name] = true
			if v.Secret != nil && m.secrets[v.Secret.SecretName] == nil {
				t.Errorf("%s mounts the secret %s, of which there is no example", name, v.Secret.SecretName)
			}
		}
		for _, mount := range c.VolumeMounts {
			if !volumes[mount.Name] {
				t.Errorf("%s mounts %s, which is no volume", name, mount.Name)
			}
		}
	}
	front := m.deployments["spillway-front"]
	if svc := m.services["spillway"]; !labels.SelectorFromSet(svc.Spec.Selector).Matches(labels.Set(front.Spec.Template.Labels)) || svc.Spec.Ports[0].TargetPort.StrVal != "sql" {
		t.Errorf("the service does not lead to the front-ends: %+v", svc.Spec)
	}
	for name, s := range m.secrets {
		for key, v := range s.StringData {
			if v != "replace-me" {
				t.Errorf("the example %s has a value for %s", name, key)
			}
		}
	}
}

// The real command takes the arguments and the variables of each container, its probes ask where it listens, and it has time to stop.
func TestKubernetesCommands(t *testing.T) {
	t.Parallel()
	m := load(t)
	for name, d := range m.deployments {
		c := d.Spec.Template.Spec.Containers[0]
		environ := maps.Clone(m.configs["spillway"].Data)
		for _, from := range c.EnvFrom {
			if from.ConfigMapRef != nil && m.configs[from.ConfigMapRef.Name] == nil {
				t.Errorf("%s: no ConfigMap %s", name, from.ConfigMapRef.Name)
			}
			if from.SecretRef != nil {
				maps.Copy(environ, m.secrets[from.SecretRef.Name].StringData)
			}
		}
		for _, e := range c.Env {
			if ref := e.ValueFrom; ref != nil {
				if _, ok := m.secrets[ref.SecretKeyRef.Name].StringData[ref.SecretKeyRef.Key]; !ok {
					t.Errorf("%s: no key %s in the secret", name, ref.SecretKeyRef.Key)
				}
				continue
			}
			environ[e.Name] = e.Value
		}
		if strings.Contains(environ["SPILLWAY_DATABASE_URL"], "password") || regexp.MustCompile(`//[^/@]*:[^/@]*@`).MatchString(environ["SPILLWAY_DATABASE_URL"]) {
			t.Errorf("%s: a password in the ConfigMap", name)
		}
		listens := environ["SPILLWAY_METRICS_LISTEN"]
		for _, p := range c.Ports {
			if p.Name == "metrics" && !strings.HasSuffix(listens, ":"+strconv.Itoa(int(p.ContainerPort))) || p.Name == "sql" && !strings.HasSuffix(environ["SPILLWAY_SQL_LISTEN"], ":"+strconv.Itoa(int(p.ContainerPort))) {
				t.Errorf("%s: port %s is %d, and the process listens at %s", name, p.Name, p.ContainerPort, listens)
			}
		}
		for probe, path := range map[*corev1.Probe]string{c.StartupProbe: "/healthz", c.LivenessProbe: "/healthz", c.ReadinessProbe: "/readyz"} {
			if probe == nil || probe.HTTPGet.Path != path || probe.HTTPGet.Port.StrVal != "metrics" {
				t.Errorf("%s: probe %+v, want %s", name, probe, path)
			}
		}
		for _, a := range c.Args {
			if text, ok := strings.CutPrefix(a, "--shutdown-timeout="); ok {
				stop, err := time.ParseDuration(text)
				must(t, err)
				if grace := time.Duration(*d.Spec.Template.Spec.TerminationGracePeriodSeconds) * time.Second; grace < stop+time.Minute {
					t.Errorf("%s is killed after %s, and may take %s and a minute to stop", name, grace, stop)
				}
			}
		}
		delete(environ, "SPILLWAY_STORAGE") // a bucket, which is looked at before the database
		checkCommand(t, c.Args, environ)
	}
}
