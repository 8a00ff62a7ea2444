// SPDX-License-Identifier: BSD-2-Clause

// Get and Put of one 32 KiB buffer through Go's sync.Pool: what acquire and release of 32 KiB are held against. Prints
// `go/32768` and ns a pair, the median of several slices, in CPU time of the process as in the C programs.
package main

import (
	"fmt"
	"sort"
	"sync"
	"syscall"
)

const pairs = 1000000

func cpu() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return float64(u.Utime.Nano() + u.Stime.Nano())
}

func main() {
	pool := sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}
	var slices []float64
	for s := 0; s < 5; s++ {
		start := cpu()
		for i := 0; i < pairs; i++ {
			b := pool.Get().(*[]byte)
			(*b)[0] = 1
			pool.Put(b)
		}
		slices = append(slices, (cpu()-start)/pairs)
	}
	sort.Float64s(slices)
	fmt.Printf("go/32768 %.4f\n", slices[len(slices)/2])
}
