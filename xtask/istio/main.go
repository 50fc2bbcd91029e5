// Command pilot-discovery is Istio's control plane, as Istio builds it.
package main

import (
	"fmt"
	"os"

	pilot "istio.io/istio/pilot/cmd/pilot-discovery/app"
	logging "istio.io/istio/pkg/log"
)

func main() {
	logging.EnableKlogWithCobra()
	root := pilot.NewRootCommand()
	if failure := root.Execute(); failure != nil {
		fmt.Fprintln(os.Stderr, failure)
		os.Exit(1)
	}
}
