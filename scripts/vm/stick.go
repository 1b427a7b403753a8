package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// Stick is what a USB drive is made of. The zero value of each field but Image
// is an ordinary drive.
type Stick struct {
	Image    string // raw file on the host
	Socket   string // instead: the unix socket of a network block device
	Log      string // file for the write log
	Append   bool   // go on with that log
	ReadOnly bool   // the write-protect switch
	Sparse   bool   // blank blocks take no room on the host
	// Bytes and requests a second; 0: unlimited.
	ReadBytes, WriteBytes, Writes int64
	Faults                        []Fault
}

// Fault makes requests of one sector fail.
type Fault struct {
	Sector int64 // of 512 bytes; -1: any
	Write  bool  // writes fail, else reads
	Flush  bool  // flushes fail
	Once   bool
	Errno  int // 0: EIO
}

// Plugged is a drive that is plugged in.
type Plugged struct {
	Device string // in the guest: /dev/sda

	m       *Machine
	id      string
	nodes   []string // block nodes, from the lowest
	objects []string
}

// pluggingTime is how long the guest may take to see a drive come or go.
const pluggingTime = 5 * time.Minute

// Plug plugs a drive in and waits until the guest has it.
func (m *Machine) Plug(ctx context.Context, s Stick) (*Plugged, error) {
	ctx, cancel := context.WithTimeout(ctx, pluggingTime)
	defer cancel()
	before, err := m.Disks(ctx)
	if err != nil {
		return nil, err
	}
	p := &Plugged{m: m, id: m.name("usb")}
	if err := p.build(ctx, s); err != nil {
		return nil, errors.Join(fmt.Errorf("plugging in %q: %w", s.Image, err), p.dismantle(ctx))
	}
	_, err = m.monitor.do(ctx, "device_add", args{"driver": "usb-storage", "bus": "xhci.0",
		"id": p.id, "drive": p.top(), "removable": true})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("plugging in %q: %w", s.Image, err), p.dismantle(ctx))
	}
	p.Device, err = m.newDisk(ctx, before)
	return p, err
}

func (p *Plugged) top() string { return p.nodes[len(p.nodes)-1] }

// build makes the nodes, each on top of the one before. blkdebug has to lie
// below the raw format, and the log above it.
func (p *Plugged) build(ctx context.Context, s Stick) error {
	below := args{"driver": "file", "filename": s.Image, "locking": "off", "read-only": s.ReadOnly}
	if s.Sparse {
		below["discard"], below["detect-zeroes"] = "unmap", "unmap"
	}
	if s.Socket != "" {
		below = args{"driver": "nbd", "server": args{"type": "unix", "path": s.Socket},
			"read-only": s.ReadOnly}
	}
	if err := p.node(ctx, "", below); err != nil {
		return err
	}
	if len(s.Faults) > 0 {
		if err := p.node(ctx, "image",
			args{"driver": "blkdebug", "inject-error": faults(s.Faults)}); err != nil {
			return err
		}
	}
	if err := p.node(ctx, "file", args{"driver": "raw", "read-only": s.ReadOnly}); err != nil {
		return err
	}
	if s.Log != "" {
		f, err := os.OpenFile(s.Log, os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		f.Close()
		log := args{"driver": "file", "filename": s.Log, "locking": "off"}
		if err := p.node(ctx, "file", args{"driver": "blklogwrites", "log": log,
			"log-append": s.Append, "log-sector-size": 512}); err != nil {
			return err
		}
	}
	if s.ReadBytes == 0 && s.WriteBytes == 0 && s.Writes == 0 {
		return nil
	}
	group := p.m.name("slow")
	limits := args{"bps-read": s.ReadBytes, "bps-write": s.WriteBytes, "iops-write": s.Writes}
	if _, err := p.m.monitor.do(ctx, "object-add", args{"qom-type": "throttle-group", "id": group,
		"limits": limits}); err != nil {
		return err
	}
	p.objects = append(p.objects, group)
	return p.node(ctx, "file", args{"driver": "throttle", "throttle-group": group})
}

func faults(list []Fault) []args {
	var rules []args
	for _, f := range list {
		kind, errno := "read", 5
		switch {
		case f.Write:
			kind = "write"
		case f.Flush:
			kind = "flush"
		}
		if f.Errno != 0 {
			errno = f.Errno
		}
		rule := args{"event": "none", "iotype": kind, "errno": errno, "once": f.Once}
		if f.Sector >= 0 && !f.Flush {
			rule["sector"] = f.Sector
		}
		rules = append(rules, rule)
	}
	return rules
}

// node adds a node on top of the last one, which it calls its link.
func (p *Plugged) node(ctx context.Context, link string, a args) error {
	name := p.m.name("node")
	a["node-name"] = name
	if link != "" {
		a[link] = p.top()
	}
	if _, err := p.m.monitor.do(ctx, "blockdev-add", a); err != nil {
		return err
	}
	p.nodes = append(p.nodes, name)
	return nil
}

// dismantle removes the nodes from the top.
func (p *Plugged) dismantle(ctx context.Context) error {
	var errs []error
	for len(p.nodes) > 0 {
		_, err := p.m.monitor.do(ctx, "blockdev-del", args{"node-name": p.top()})
		errs = append(errs, err)
		p.nodes = p.nodes[:len(p.nodes)-1]
	}
	for _, id := range p.objects {
		_, err := p.m.monitor.do(ctx, "object-del", args{"id": id})
		errs = append(errs, err)
	}
	p.objects = nil
	return errors.Join(errs...)
}

// Pull pulls the drive out, without a word to the guest, and returns when it is
// out. The data that has reached the host stays in the drive's file.
func (p *Plugged) Pull(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pluggingTime)
	defer cancel()
	gone := p.m.monitor.expect("DEVICE_DELETED", p.id)
	if _, err := p.m.monitor.do(ctx, "device_del", args{"id": p.id}); err != nil {
		return fmt.Errorf("pulling %q: %w", p.Device, err)
	}
	select {
	case <-gone:
	case <-ctx.Done():
		return fmt.Errorf("pulling %q: %w", p.Device, ctx.Err())
	}
	if err := errors.Join(p.dismantle(ctx), p.m.awaitGone(ctx, p.Device)); err != nil {
		return fmt.Errorf("pulling %q: %w", p.Device, err)
	}
	return nil
}

// Moved is what a drive did so far.
type Moved struct {
	ReadBytes    int64 `json:"rd_bytes"`
	WrittenBytes int64 `json:"wr_bytes"`
	Writes       int64 `json:"wr_operations"`
	Flushes      int64 `json:"flush_operations"`
}

// Moved asks how much the drive has read and written.
func (p *Plugged) Moved(ctx context.Context) (Moved, error) {
	data, err := p.m.monitor.do(ctx, "query-blockstats", nil)
	if err != nil {
		return Moved{}, err
	}
	var all []struct {
		QDev  string `json:"qdev"`
		Stats Moved  `json:"stats"`
	}
	if err := json.Unmarshal(data, &all); err != nil {
		return Moved{}, fmt.Errorf("reading the statistics of the drive: %w", err)
	}
	for _, s := range all {
		if slices.Contains(strings.Split(s.QDev, "/"), p.id) {
			return s.Stats, nil
		}
	}
	return Moved{}, fmt.Errorf("there are no statistics of %q in %s", p.id, data)
}
