// SPDX-License-Identifier: BSD-2-Clause

// Go's sync.Pool under the loads that objects_load.c puts on object pools; there they are described. The program of
// pool.go, with three arguments: threads (GOMAXPROCS), operations, pauses. It prints under the names of objects_load.c.
package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	held      = 100
	cheap     = 10 // times as many operations of the first two loads
	putBack   = 67
	cached    = 100000
	bufferLen = 32 << 10
	ballast   = 8 << 20 // without one a heap as small as this is collected all the time
)

var (
	made       atomic.Int64
	threads    int
	operations int
	sink       []byte // what must not be optimised away
)

func sample(name string, value float64) {
	fmt.Printf("%s %.4f\n", name, value)
}

func inParallel(run func()) {
	var all sync.WaitGroup
	for i := 0; i < threads; i++ {
		all.Add(1)
		go func() { run(); all.Done() }()
	}
	all.Wait()
}

func counted() *sync.Pool {
	return &sync.Pool{New: func() any { made.Add(1); return new(object) }}
}

func getAll(pool *sync.Pool, objects []*object) {
	for i := range objects {
		if objects[i] == nil {
			objects[i] = pool.Get().(*object)
			objects[i].bytes[0] = 1
		}
	}
}

// The last ones are garbage.
func putAll(pool *sync.Pool, objects []*object, kept int) {
	for i, o := range objects {
		if i < kept {
			pool.Put(o)
		}
		objects[i] = nil
	}
}

// The CPU time of a Get and its Put.
func load(pool *sync.Pool, kept int) float64 {
	run := func() {
		objects := make([]*object, held)
		getAll(pool, objects)
		for n := 0; n < cheap*operations; n++ {
			putAll(pool, objects, kept)
			getAll(pool, objects)
		}
		putAll(pool, objects, held)
	}
	inParallel(run) // once to warm up
	made.Store(0)
	start := cpu()
	inParallel(run)
	return (cpu() - start) / float64(cheap*threads*operations*held)
}

func pauses(count int) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	pool := counted()
	var stats runtime.MemStats
	objects := make([]*object, cached)
	us := make([]float64, count)
	for i := range us {
		getAll(pool, objects)
		putAll(pool, objects, cached)
		runtime.GC()
		runtime.ReadMemStats(&stats)
		us[i] = float64(stats.PauseNs[(stats.NumGC+255)%256]) / 1000
	}
	sort.Float64s(us)
	sample("pause/p50", us[count/2])
	sample("pause/p95", us[count*95/100])
}

func expensive() {
	var before, after runtime.MemStats
	var begun sync.WaitGroup
	pool := &sync.Pool{New: func() any { made.Add(1); time.Sleep(time.Millisecond); return new(object) }}
	heap := make([]byte, ballast)
	begun.Add(threads)
	made.Store(0)
	runtime.ReadMemStats(&before)
	inParallel(func() {
		objects := make([]*object, held)
		getAll(pool, objects)
		begun.Done()
		begun.Wait()
		putAll(pool, objects, held)
		var buffer []byte
		for n := 0; n < operations; n++ {
			for i := range objects {
				buffer = make([]byte, bufferLen)
				objects[i] = pool.Get().(*object)
				buffer[0] = 1
			}
			putAll(pool, objects, held)
		}
		sink = buffer
	})
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(heap)
	again, collections := float64(made.Load()-int64(threads*held)), float64(after.NumGC-before.NumGC)
	sample("expensive/new", 1000*again/float64(threads*operations))
	if collections > 0 {
		sample("expensive/new a collection", again/collections)
	} else {
		sample("expensive/new a collection", 0)
	}
	sample("expensive/collections", 1000*collections/float64(threads*operations))
}

func argument(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		panic("a number was expected, not " + text)
	}
	return n
}

func underLoad(args []string) {
	threads, operations = argument(args[0]), argument(args[1])
	runtime.GOMAXPROCS(threads)
	sample("overflow", load(counted(), held))
	sample("starvation", load(counted(), putBack))
	sample("starvation/new", float64(made.Load())/float64(cheap*threads*operations*held))
	pauses(argument(args[2]))
	expensive()
}
