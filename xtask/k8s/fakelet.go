package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// What a pod's annotations can ask of the fakelet.
const (
	podIP    = "fakelet/pod-ip"    // this address and no other
	notReady = "fakelet/not-ready" // "true": running, and not ready
	manual   = "fakelet/manual"    // "true": its status is left alone
)

// hostIP is the address of every node.
const hostIP = "10.240.0.1"

// kubelet stands in for the kubelets of all nodes: a pod that is bound runs and is ready at once, a pod that is
// deleted is gone at once. It starts no container.
type kubelet struct {
	client kubernetes.Interface
	given  int // addresses given out so far
}

func fakelet(arguments []string) error {
	if len(arguments) != 2 {
		return errors.New("usage: fakelet KUBECONFIG NODES")
	}
	nodes, err := strconv.Atoi(arguments[1])
	if err != nil {
		return fmt.Errorf("NODES is a number, not %q", arguments[1])
	}
	config, err := clientcmd.BuildConfigFromFlags("", arguments[0])
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 500, 1000
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	k := &kubelet{client: client}
	ctx := context.Background()
	for number := 1; number <= nodes; number++ {
		if err := k.register(ctx, fmt.Sprintf("node-%d", number)); err != nil {
			return err
		}
	}
	for {
		if err := k.follow(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "fakelet: watching pods again:", err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// register makes a node that takes any pod.
func (k *kubelet) register(ctx context.Context, name string) error {
	room := core.ResourceList{}
	for what, much := range map[core.ResourceName]string{
		"cpu": "128", "memory": "1Ti", "pods": "1000", "ephemeral-storage": "4Ti", "nvidia.com/gpu": "8",
	} {
		room[what] = resource.MustParse(much)
	}
	now := meta.Now()
	node := &core.Node{
		ObjectMeta: meta.ObjectMeta{Name: name, Labels: map[string]string{
			"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
		}},
		Status: core.NodeStatus{
			Capacity:    room,
			Allocatable: room,
			Addresses:   []core.NodeAddress{{Type: core.NodeInternalIP, Address: hostIP}},
			Conditions: []core.NodeCondition{{
				Type: core.NodeReady, Status: core.ConditionTrue, Reason: "Fakelet",
				LastHeartbeatTime: now, LastTransitionTime: now,
			}},
		},
	}
	made, err := k.client.CoreV1().Nodes().Create(ctx, node, meta.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err != nil || len(made.Spec.Taints) == 0 {
		return err
	}
	// Admission marks new nodes as not ready; nobody else takes that mark away here.
	made.Spec.Taints = nil
	_, err = k.client.CoreV1().Nodes().Update(ctx, made, meta.UpdateOptions{})
	return err
}

// follow looks at every pod once and then at each that changes, until the watch ends. A pod whose status could not
// be written is looked at again when follow is called again.
func (k *kubelet) follow(ctx context.Context) error {
	pods := k.client.CoreV1().Pods(meta.NamespaceAll)
	list, err := pods.List(ctx, meta.ListOptions{})
	if err != nil {
		return err
	}
	for i := range list.Items {
		if err := k.settle(ctx, &list.Items[i]); err != nil {
			return err
		}
	}
	minutes := int64(300)
	watch, err := pods.Watch(ctx, meta.ListOptions{ResourceVersion: list.ResourceVersion, TimeoutSeconds: &minutes})
	if err != nil {
		return err
	}
	defer watch.Stop()
	for event := range watch.ResultChan() {
		if pod, ok := event.Object.(*core.Pod); ok && event.Type != "DELETED" {
			if err := k.settle(ctx, pod); err != nil {
				return err
			}
		} else if !ok {
			return apierrors.FromObject(event.Object)
		}
	}
	return nil
}

// settle brings one pod's status to what it should be.
func (k *kubelet) settle(ctx context.Context, pod *core.Pod) error {
	if pod.Spec.NodeName == "" || pod.Annotations[manual] == "true" {
		return nil
	}
	pods := k.client.CoreV1().Pods(pod.Namespace)
	if pod.DeletionTimestamp != nil {
		atOnce := int64(0)
		return harmless(pods.Delete(ctx, pod.Name, meta.DeleteOptions{
			GracePeriodSeconds: &atOnce, Preconditions: &meta.Preconditions{UID: &pod.UID},
		}))
	}
	if pod.Status.Phase == core.PodSucceeded || pod.Status.Phase == core.PodFailed {
		return nil
	}
	ready, address := core.ConditionTrue, k.address(pod)
	if pod.Annotations[notReady] == "true" {
		ready = core.ConditionFalse
	}
	if pod.Status.Phase == core.PodRunning && pod.Status.PodIP == address && readiness(pod) == ready {
		return nil
	}
	pod = pod.DeepCopy()
	k.run(pod, address, ready)
	_, err := pods.UpdateStatus(ctx, pod, meta.UpdateOptions{})
	return harmless(err)
}

// run makes pod's status that of a running pod.
func (k *kubelet) run(pod *core.Pod, address string, ready core.ConditionStatus) {
	now := meta.Now()
	status := &pod.Status
	status.Phase = core.PodRunning
	status.PodIP, status.PodIPs = address, []core.PodIP{{IP: address}}
	status.HostIP, status.HostIPs = hostIP, []core.HostIP{{IP: hostIP}}
	if status.StartTime == nil {
		status.StartTime = &now
	}
	conditions := map[core.PodConditionType]core.ConditionStatus{
		core.PodScheduled: core.ConditionTrue, core.PodInitialized: core.ConditionTrue,
		core.ContainersReady: ready, core.PodReady: ready,
	}
	status.Conditions = nil
	for kind, value := range conditions {
		status.Conditions = append(status.Conditions, core.PodCondition{Type: kind, Status: value, LastTransitionTime: now})
	}
	status.ContainerStatuses = nil
	started := true
	for _, container := range pod.Spec.Containers {
		status.ContainerStatuses = append(status.ContainerStatuses, core.ContainerStatus{
			Name: container.Name, Image: container.Image, ImageID: container.Image,
			ContainerID: "fakelet://" + string(pod.UID), Ready: ready == core.ConditionTrue, Started: &started,
			State: core.ContainerState{Running: &core.ContainerStateRunning{StartedAt: *status.StartTime}},
		})
	}
}

// address is what the pod asks for, or has, or the next free one.
func (k *kubelet) address(pod *core.Pod) string {
	if asked := pod.Annotations[podIP]; asked != "" {
		return asked
	}
	if pod.Status.PodIP != "" {
		return pod.Status.PodIP
	}
	k.given++
	return fmt.Sprintf("10.244.%d.%d", k.given/250, k.given%250+2)
}

func readiness(pod *core.Pod) core.ConditionStatus {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == core.PodReady {
			return condition.Status
		}
	}
	return core.ConditionUnknown
}

// harmless drops the errors of a pod that changed or went meanwhile: its next event is on the way.
func harmless(err error) error {
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
