package main

import "math/rand/v2"

// drawMonth draws the month of a loop: two hosts and three clients, of which one never asks, with
// two drives that are small most of the time. Each day somebody builds, a drive is written, comes
// to a client, and takes its request home; drives are lost, clients reinstalled, imports taken
// back, and commands killed.
func drawMonth(seed uint64) []step {
	const hosts, clients, drives, days, silent = 2, 3, 2, 28, 2
	r := rand.New(rand.NewPCG(seed, 29))
	var steps []step
	add := func(op string, host, client, drive int) {
		s := step{Op: op, Host: host, Client: client, Drive: drive, N: r.Uint64()}
		switch op {
		case "export", "import", "request", "undo":
			if r.IntN(8) == 0 {
				s.Fate = []string{"kill", "interrupt", "full", "fail"}[r.IntN(4)]
				s.At = 1 + r.IntN(1<<r.IntN(7))
			}
		}
		steps = append(steps, s)
	}
	for host := range hosts {
		for range 4 + r.IntN(4) {
			add("host-add", host, 0, 0)
		}
	}
	for drive := range drives {
		add("drive-small", 0, 0, drive)
	}
	for range days {
		host, client, drive := r.IntN(hosts), r.IntN(clients), r.IntN(drives)
		if r.IntN(2) == 0 {
			add([]string{"host-add", "host-rebuild", "host-rebuild",
				"host-remove"}[r.IntN(4)], host,
				0, 0)
		}
		add("export", host, 0, drive)
		switch r.IntN(12) {
		case 0:
			add("drive-lose", 0, 0, drive)
			add("drive-small", 0, 0, drive)
			continue
		case 1:
			add("drive-small", 0, 0, drive)
		case 2:
			add("client-lost", 0, client, 0)
		}
		add("import", 0, client, drive)
		if r.IntN(6) == 0 {
			add("undo", 0, client, 0)
		}
		if client != silent {
			add("request", host, client, drive)
		}
	}
	return steps
}
