package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
)

const idleRooms = 4

// memoryBench lets idle clients in and divides what the server's resident memory grew by, after a collection, by their
// number. Accounts exist before. The baseline is a process with as many bare connections, a reader for each.
func memoryBench(ctx context.Context, o *options, r *report) error {
	s := series{}
	var heap, stack float64
	for i := range o.rounds {
		bare, err := bareMemory(ctx, o)
		if err != nil {
			return fmt.Errorf("bare TCP: %w", err)
		}
		before, after, err := idleMemory(ctx, o, filepath.Join(o.dir, fmt.Sprintf("memory%d", i)))
		if err != nil {
			return err
		}
		kib := func(a, b float64) float64 { return (b - a) / 1024 / float64(o.idle) }
		ours := kib(float64(before.RSS), float64(after.RSS))
		heap, stack = kib(float64(before.Heap), float64(after.Heap)), kib(float64(before.Stack), float64(after.Stack))
		o.progress("memory: round %d of %d: %s KiB a client, bare %s KiB", i+1, o.rounds, number(ours), number(bare))
		s.add(ours, bare)
	}
	return r.add(fmt.Sprintf("%d idle clients in %d rooms each, TCP", o.idle, idleRooms), "KiB a client", "KiB, a bare connection with a reader", s,
		atMost("value", 40), fmt.Sprintf("of it heap %s, stacks %s", number(heap), number(stack)))
}

func bareMemory(ctx context.Context, o *options) (kib float64, err error) {
	p, err := spawn(ctx, childConfig{}, o.log)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	raw, err := p.do(order{Do: "raw", Echo: true})
	if err != nil {
		return 0, err
	}
	before, err := p.do(order{Do: "collect"})
	if err != nil {
		return 0, err
	}
	leave, err := echoes(ctx, raw.Addr, o.idle)
	if err != nil {
		return 0, err
	}
	defer leave()
	after, err := p.do(order{Do: "collect"})
	return float64(after.RSS-before.RSS) / 1024 / float64(o.idle), err
}

func idleMemory(ctx context.Context, o *options, dir string) (before, after answer, err error) {
	if err := newNode(dir); err != nil {
		return before, after, err
	}
	p, err := spawn(ctx, childConfig{Dir: dir, Users: o.idle, Rooms: idleRooms}, o.log)
	if err != nil {
		return before, after, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	if err := quiet(ctx, p); err != nil {
		return before, after, err
	}
	if before, err = p.do(order{Do: "collect"}); err != nil {
		return before, after, err
	}
	var rooms []string
	for i := range idleRooms {
		rooms = append(rooms, roomURI(i))
	}
	clients, err := connect(ctx, p.hello.SIP, o.idle, rooms, func() {})
	if err != nil {
		return before, after, err
	}
	defer hangUp(clients)
	if err := quiet(ctx, p); err != nil {
		return before, after, err
	}
	after, err = p.do(order{Do: "collect"})
	return before, after, err
}
