// A client of vitserve's that is not ours at heart: grpc-go, Google's own for Go.
//
//	client case ADDRESS NAME   goes through one interop case, most of them as grpc-go itself brings them; exits with 0 where
//	                           the server does as it should
//	client steps ADDRESS       reads one step a line from standard input, answers each with one line of JSON
//
// It knows nothing of vitserve's contract but what the server's reflection tells.
package main

import (
	"fmt"
	"os"
)

func main() {
	switch {
	case len(os.Args) == 4 && os.Args[1] == "case":
		runCase(os.Args[2], os.Args[3])
	case len(os.Args) == 3 && os.Args[1] == "steps":
		if err := runSteps(os.Args[2], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	default:
		fmt.Fprintln(os.Stderr, "usage: client case ADDRESS NAME | client steps ADDRESS")
		os.Exit(2)
	}
}
