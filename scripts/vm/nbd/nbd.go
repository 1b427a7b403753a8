// Package nbd serves a drive over the network block device protocol: to QEMU,
// which begins with a handshake, and to the kernel's nbd device, which takes a
// socket on which the handshake is over.
//
// See the protocol's specification, doc/proto.md of NetworkBlockDevice/nbd:
// fixed newstyle negotiation with NBD_OPT_GO and NBD_OPT_EXPORT_NAME, simple
// replies. One example, a read of 512 bytes at 4096 and its answer:
//
//	25 60 95 13  00 00  00 00  .. cookie ..  00 00 00 00 00 00 10 00  00 00 02 00
//	67 44 66 98  00 00 00 00   .. cookie ..  512 bytes
package nbd

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"pkgsneak/scripts/vm/disk"
)

// TransmissionFlags name what Serve understands: flags, flush.
const TransmissionFlags = 1<<0 | 1<<2

// The numbers that the two sides send, and limits of size.
const (
	greeting       = 0x4e42444d41474943 // NBDMAGIC
	optionMagic    = 0x49484156454f5054 // IHAVEOPT
	optReplyMagic  = 0x0003e889045565a9
	requestMagic   = 0x25609513
	replyMagic     = 0x67446698
	optExportName  = 1
	optAbort       = 2
	optInfo, optGo = 6, 7
	repAck         = 1
	repInfo        = 3
	repErrUnsup    = 1<<31 | 1
	maxOption      = 64 << 10 // bytes of an option
	maxRequest     = 64 << 20 // bytes of a request
	errIO          = 5
	errInvalid     = 22
)

const (
	cmdRead = iota
	cmdWrite
	cmdDisconnect
	cmdFlush
	cmdTrim
)

// ErrAborted is returned when the other side does not want to go on.
var ErrAborted = errors.New("the client gave up")

// Handshake does the negotiation for a drive of so many bytes.
func Handshake(conn io.ReadWriter, size int64) error {
	var hello []byte
	hello = binary.BigEndian.AppendUint64(hello, greeting)
	hello = binary.BigEndian.AppendUint64(hello, optionMagic)
	hello = binary.BigEndian.AppendUint16(hello, 1|2) // fixed newstyle, no zeroes
	if _, err := conn.Write(hello); err != nil {
		return fmt.Errorf("greeting: %w", err)
	}
	var flags [4]byte
	if _, err := io.ReadFull(conn, flags[:]); err != nil {
		return fmt.Errorf("reading the client's flags: %w", err)
	}
	padded := flags[3]&2 == 0
	for {
		done, err := negotiate(conn, size, padded)
		if done || err != nil {
			return err
		}
	}
}

// negotiate answers one option.
func negotiate(conn io.ReadWriter, size int64, padded bool) (done bool, err error) {
	var head [16]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return false, fmt.Errorf("reading an option: %w", err)
	}
	option, length := binary.BigEndian.Uint32(head[8:]), binary.BigEndian.Uint32(head[12:])
	if magic := binary.BigEndian.Uint64(head[:]); magic != optionMagic || length > maxOption {
		return false, fmt.Errorf("reading an option: magic %#x, %d bytes", magic, length)
	}
	if _, err := io.CopyN(io.Discard, conn, int64(length)); err != nil {
		return false, fmt.Errorf("reading option %d: %w", option, err)
	}
	export := binary.BigEndian.AppendUint64(nil, uint64(size))
	export = binary.BigEndian.AppendUint16(export, TransmissionFlags)
	switch option {
	case optExportName:
		if padded {
			export = append(export, make([]byte, 124)...)
		}
		_, err := conn.Write(export)
		return true, err
	case optGo, optInfo:
		info := append([]byte{0, 0}, export...) // NBD_INFO_EXPORT
		if _, err := conn.Write(optionReply(option, repInfo, info)); err != nil {
			return false, err
		}
		_, err := conn.Write(optionReply(option, repAck, nil))
		return option == optGo, err
	case optAbort:
		_, err := conn.Write(optionReply(option, repAck, nil))
		return false, errors.Join(ErrAborted, err)
	}
	_, err = conn.Write(optionReply(option, repErrUnsup, nil))
	return false, err
}

func optionReply(option, kind uint32, data []byte) []byte {
	b := binary.BigEndian.AppendUint64(nil, optReplyMagic)
	b = binary.BigEndian.AppendUint32(b, option)
	b = binary.BigEndian.AppendUint32(b, kind)
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	return append(b, data...)
}

// Serve answers requests, one after the other, until the client disconnects.
func Serve(conn io.ReadWriter, d disk.Device) error {
	r, w := bufio.NewReaderSize(conn, 256<<10), bufio.NewWriterSize(conn, 256<<10)
	var head [28]byte
	var buf []byte
	for {
		if _, err := io.ReadFull(r, head[:]); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading a request: %w", err)
		}
		command, off, n := binary.BigEndian.Uint16(head[6:]),
			int64(binary.BigEndian.Uint64(head[16:])), binary.BigEndian.Uint32(head[24:])
		if magic := binary.BigEndian.Uint32(head[:]); magic != requestMagic || n > maxRequest {
			return fmt.Errorf("reading a request: magic %#x, %d bytes", magic, n)
		}
		if command == cmdDisconnect {
			return nil
		}
		if uint32(len(buf)) < n {
			buf = make([]byte, n)
		}
		if command == cmdWrite {
			if _, err := io.ReadFull(r, buf[:n]); err != nil {
				return fmt.Errorf("reading a write: %w", err)
			}
		}
		status := perform(d, command, buf[:n], off)
		reply := binary.BigEndian.AppendUint32(nil, replyMagic)
		reply = binary.BigEndian.AppendUint32(reply, status)
		w.Write(append(reply, head[8:16]...))
		if command == cmdRead && status == 0 {
			w.Write(buf[:n])
		}
		if err := w.Flush(); err != nil {
			return fmt.Errorf("answering: %w", err)
		}
	}
}

// perform does a request and returns its status.
func perform(d disk.Device, command uint16, p []byte, off int64) uint32 {
	if off < 0 || off > d.Size() || int64(len(p)) > d.Size()-off {
		return errInvalid
	}
	var err error
	switch command {
	case cmdRead:
		_, err = d.ReadAt(p, off)
	case cmdWrite:
		_, err = d.WriteAt(p, off)
	case cmdFlush:
		err = d.Flush()
	case cmdTrim:
	default:
		return errInvalid
	}
	if err != nil {
		return errIO
	}
	return 0
}
