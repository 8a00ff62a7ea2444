// SPDX-License-Identifier: BSD-2-Clause

// Get and Put through Go's sync.Pool: of one 32 KiB buffer, what acquire and release of 32 KiB are held against, and of one
// object, without and with a reset called through a variable, what those of object pools are held against. Prints
// `go/32768`, `go/kept` and `go/reset` with ns a pair, the median of several slices, in CPU time of the process as in the C
// programs. With arguments it is what pool_load.go says.
package main

import (
	"fmt"
	"os"
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

type object struct{ bytes [64]byte }

var reset = func(o *object) bool { o.bytes[0] = 0; return true }

func buffers(pool *sync.Pool) {
	for i := 0; i < pairs; i++ {
		b := pool.Get().(*[]byte)
		(*b)[0] = 1
		pool.Put(b)
	}
}

func kept(pool *sync.Pool) {
	for i := 0; i < pairs; i++ {
		o := pool.Get().(*object)
		o.bytes[0] = 1
		pool.Put(o)
	}
}

func withReset(pool *sync.Pool) {
	for i := 0; i < pairs; i++ {
		o := pool.Get().(*object)
		o.bytes[0] = 1
		if reset(o) {
			pool.Put(o)
		}
	}
}

func measure(name string, pool *sync.Pool, run func(*sync.Pool)) {
	var slices []float64
	for s := 0; s < 5; s++ {
		start := cpu()
		run(pool)
		slices = append(slices, (cpu()-start)/pairs)
	}
	sort.Float64s(slices)
	fmt.Printf("go/%s %.4f\n", name, slices[len(slices)/2])
}

func main() {
	if len(os.Args) > 1 {
		underLoad(os.Args[1:])
		return
	}
	objects := sync.Pool{New: func() any { return new(object) }}
	measure("32768", &sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}, buffers)
	measure("kept", &objects, kept)
	measure("reset", &objects, withReset)
}
