// A Kubernetes control plane for tests in one executable file, linked under several names: the name it is
// called by, or else its first argument, says which program it is.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

// Programs that are made of a cobra command, by name.
var commands = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllers.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kubectl":                 kubectl.NewDefaultKubectlCommand,
}

// Programs that read their arguments themselves.
var plain = map[string]func(arguments []string) error{
	"etcd":       func([]string) error { etcdmain.Main(os.Args); return nil },
	"fakelet":    fakelet,
	"signingkey": signingKey,
}

func main() {
	name := filepath.Base(os.Args[0])
	if !known(name) && len(os.Args) > 1 {
		os.Args = os.Args[1:]
		name = os.Args[0]
	}
	if command, ok := commands[name]; ok {
		os.Exit(cli.Run(command()))
	}
	run, ok := plain[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "%s is none of the programs in here: kube-apiserver, kube-controller-manager, kube-scheduler, kubectl, etcd, fakelet, signingkey\n", name)
		os.Exit(2)
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		os.Exit(1)
	}
}

func known(name string) bool {
	_, a := commands[name]
	_, b := plain[name]
	return a || b
}
