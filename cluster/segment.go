package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"time"

	"github.com/hashicorp/raft"
)

// A segment is one file of the log: a head, and entries that are only ever appended.
//
//	+-------------------+
//	| "TDMLOG" 0x00 0x01|  magic and version
//	| base     8 bytes  |  index of the first entry (all numbers big endian)
//	| salt     8 bytes  |  random, goes into every checksum
//	| fresh    1 byte   |  1: nothing before base belongs to the log any more
//	| crc      4 bytes  |  CRC-32C of the head
//	+-------------------+
//	| length   4 bytes  |  of what follows the checksum
//	| crc      4 bytes  |  CRC-32C over salt, place in the file, length and what follows
//	| index    8 bytes  |
//	| term     8 bytes  |
//	| time     8 bytes  |  AppendedAt in Unix ns, 0 for none
//	| type     1 byte   |
//	| flags    1 byte   |  first of its batch, last of its batch
//	| ext      4 bytes  |  length of the extensions
//	| extensions, data  |
//	+-------------------+
//	| ...               |
//
// What is stored at once is a batch, and there with its last entry: a batch without it was cut short by the end of the process, and never acknowledged. The salt
// keeps bytes that a phone has sent, and that stand in an entry, from passing for entries.
type segment struct {
	path  string
	file  *os.File
	base  uint64   // index of the first entry
	fresh bool     // nothing before it belongs to the log
	sum   uint32   // CRC-32C of the salt, with which each checksum begins
	at    []uint32 // where the entries in force begin
	end   uint32   // and where the last of them ends

	// What was found when it was opened.
	batch uint32 // where its last batch begins
	torn  bool   // something behind the last batch cannot be read
	more  bool   // and behind that another batch begins, so it was not the last write that was cut short
}

const (
	segmentMagic = "TDMLOG\x00\x01"
	segmentHead  = 8 + 8 + 8 + 1 + 4
	recordHead   = 4 + 4
	recordFixed  = 8 + 8 + 8 + 1 + 1 + 4 // the part of a record between checksum and extensions
	recordMost   = 1 << 30
	segmentMost  = math.MaxUint32 // an offset has four bytes
)

const (
	batchFirst = 1 << iota
	batchLast
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errRecord  = errors.New("no entry, or a damaged one")
	// ErrLogDamaged: a file of the log does not hold what was written to it.
	ErrLogDamaged = errors.New("the log is damaged")
)

// last is the index of the last entry in force; it is base-1 when there is none.
func (s *segment) last() uint64 { return s.base + uint64(len(s.at)) - 1 }

// cut puts all entries from an index on out of force; the file stays as it is.
func (s *segment) cut(from uint64) {
	if keep := from - s.base; keep < uint64(len(s.at)) {
		s.end = s.at[keep]
		s.at = s.at[:keep:keep]
	}
}

// damaged says where, and what to do about it.
func (s *segment) damaged(offset uint32, index uint64) error {
	return fmt.Errorf("%w: %s at byte %d, where entry %d should be; restore a backup, or, where other nodes have the log, remove this node's data directory and join again",
		ErrLogDamaged, s.path, offset, index)
}

func appendHead(b []byte, base, salt uint64, fresh bool) []byte {
	from := len(b)
	b = append(b, segmentMagic...)
	b = binary.BigEndian.AppendUint64(b, base)
	b = binary.BigEndian.AppendUint64(b, salt)
	if fresh {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[from:], castagnoli))
}

// readHead reads the head of a file, and reports whether it is one.
func (s *segment) readHead(b []byte) bool {
	if len(b) < segmentHead || string(b[:len(segmentMagic)]) != segmentMagic {
		return false
	}
	if crc32.Checksum(b[:segmentHead-4], castagnoli) != binary.BigEndian.Uint32(b[segmentHead-4:]) {
		return false
	}
	s.base, s.sum, s.fresh = binary.BigEndian.Uint64(b[8:]), crc32.Checksum(b[16:24], castagnoli), b[24] == 1
	s.end = segmentHead
	return s.base > 0 && s.base < math.MaxUint64/2
}

func saltSum(salt uint64) uint32 {
	return crc32.Checksum(binary.BigEndian.AppendUint64(nil, salt), castagnoli)
}

// recordSum is the checksum of a record that begins at a place of its file.
func recordSum(sum, offset uint32, record []byte) uint32 {
	var place [4]byte
	binary.BigEndian.PutUint32(place[:], offset)
	sum = crc32.Update(sum, castagnoli, place[:])
	sum = crc32.Update(sum, castagnoli, record[:4])
	return crc32.Update(sum, castagnoli, record[recordHead:])
}

// appendRecord appends an entry that will stand at a place of its file.
func appendRecord(b []byte, l *raft.Log, flags byte, sum, offset uint32) []byte {
	from := len(b)
	b = binary.BigEndian.AppendUint32(b, uint32(recordFixed+len(l.Extensions)+len(l.Data)))
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, l.Index)
	b = binary.BigEndian.AppendUint64(b, l.Term)
	at := int64(0)
	if !l.AppendedAt.IsZero() {
		at = l.AppendedAt.UnixNano()
	}
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	b = append(b, byte(l.Type), flags)
	b = binary.BigEndian.AppendUint32(b, uint32(len(l.Extensions)))
	b = append(b, l.Extensions...)
	b = append(b, l.Data...)
	binary.BigEndian.PutUint32(b[from+4:], recordSum(sum, offset, b[from:]))
	return b
}

// readRecord reads the entry at the beginning of b, which stands at offset of its file, into l, which keeps no part of b; size is what it takes.
func readRecord(b []byte, sum, offset uint32, l *raft.Log) (flags byte, size int, err error) {
	size, ok := recordSize(b)
	if !ok || recordSum(sum, offset, b[:size]) != binary.BigEndian.Uint32(b[4:]) {
		return 0, 0, errRecord
	}
	body := b[recordHead:size]
	ext := binary.BigEndian.Uint32(body[26:])
	if uint64(ext) > uint64(len(body)-recordFixed) {
		return 0, 0, errRecord
	}
	*l = raft.Log{Index: binary.BigEndian.Uint64(body), Term: binary.BigEndian.Uint64(body[8:]), Type: raft.LogType(body[24])}
	if at := int64(binary.BigEndian.Uint64(body[16:])); at != 0 {
		l.AppendedAt = time.Unix(0, at)
	}
	if tail := body[recordFixed:]; len(tail) > 0 {
		tail = append(make([]byte, 0, len(tail)), tail...)
		if ext > 0 {
			l.Extensions = tail[:ext:ext]
		}
		l.Data = tail[ext:]
	}
	return body[25], size, nil
}

// recordSize is what the record at the beginning of b takes, if there can be one.
func recordSize(b []byte) (size int, ok bool) {
	if len(b) < recordHead+recordFixed {
		return 0, false
	}
	length := binary.BigEndian.Uint32(b)
	if length < recordFixed || length > recordMost || uint64(length) > uint64(len(b)-recordHead) {
		return 0, false
	}
	return recordHead + int(length), true
}

// openSegment opens a file and finds its entries. Without any its first write was cut short.
func openSegment(path string) (s *segment, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	s = &segment{path: path, file: f}
	content, err := io.ReadAll(io.LimitReader(f, segmentMost))
	if err != nil {
		return nil, err
	}
	if !s.readHead(content) {
		if len(content) > segmentHead {
			return nil, fmt.Errorf("%w: %s has no head; restore a backup, or, where other nodes have the log, remove this node's data directory and join again", ErrLogDamaged, path)
		}
		return s, nil
	}
	s.scan(content)
	if len(s.at) == 0 && s.more {
		return nil, s.damaged(s.end, s.base)
	}
	return s, nil
}

// scan finds the entries in the content of a file whose head has been read: all whole batches up to the first byte that is none.
func (s *segment) scan(content []byte) {
	var l raft.Log
	open := s.at // with those of the batch that is being read
	begun, at := s.end, s.end
	for uint64(at) < uint64(len(content)) {
		flags, size, err := readRecord(content[at:], s.sum, at, &l)
		first := flags&batchFirst != 0
		if err != nil || l.Index != s.base+uint64(len(open)) || first != (len(open) == len(s.at)) {
			s.torn, s.more = true, s.batchBehind(content, at)
			return
		}
		if first {
			begun = at
		}
		open = append(open, at)
		at += uint32(size)
		if flags&batchLast != 0 {
			s.at, s.end, s.batch = open, at, begun
		}
	}
	s.torn = at != s.end
}

// batchBehind looks for the beginning of a batch behind a place that cannot be read.
func (s *segment) batchBehind(content []byte, bad uint32) bool {
	const flagsAt = recordHead + 25
	for at := int(bad) + 1; at+recordHead+recordFixed <= len(content); at++ {
		b := content[at:]
		if b[flagsAt]&^(batchFirst|batchLast) != 0 || b[flagsAt]&batchFirst == 0 {
			continue
		}
		if index := binary.BigEndian.Uint64(b[recordHead:]); index < s.base || index-s.base > uint64(len(content)) {
			continue
		}
		var l raft.Log
		if _, _, err := readRecord(b, s.sum, uint32(at), &l); err == nil {
			return true
		}
	}
	return false
}

// read reads the entry that stands between two places.
func (s *segment) read(index uint64, from, to uint32, l *raft.Log) error {
	b := make([]byte, to-from)
	if _, err := s.file.ReadAt(b, int64(from)); err != nil {
		return fmt.Errorf("cluster: read entry %d: %w", index, err)
	}
	if _, size, err := readRecord(b, s.sum, from, l); err != nil || size != len(b) || l.Index != index {
		return s.damaged(from, index)
	}
	return nil
}
