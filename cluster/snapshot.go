package cluster

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
)

// A snapshot is one stream with a section per machine, in the order of their names:
//
//	+------------------+
//	| "TDMSNAP" 0x01   |  magic and version
//	+------------------+
//	| uv len, name     |  section: the machine's name,
//	| u32 len, bytes   |    its state in chunks of at most 64 KiB (big endian lengths),
//	| ...              |
//	| u32 0            |    the end of the chunks,
//	| u64 bytes        |    how many bytes they held
//	| u32 crc          |    and CRC-32C over name and bytes
//	+------------------+
//	| ...              |  further sections
//	+------------------+
//	| uv 0             |  the end: no more names
//	| uv sections      |
//	+------------------+
//
// Chunks let a machine write without knowing its size first. The end is written out, so a stream that was cut
// short, even between two sections, is an error and never a smaller state.
const (
	snapshotMagic = "TDMSNAP\x01"
	chunkBytes    = 64 << 10
)

var errSnapshot = errors.New("damaged snapshot")

type section struct {
	name  string
	write func(io.Writer) error
}

// writeSections writes the whole stream and returns its length in bytes.
func writeSections(w io.Writer, sections []section) (int64, error) {
	count := &countingWriter{w: w}
	out := bufio.NewWriterSize(count, chunkBytes+16)
	out.WriteString(snapshotMagic)
	for _, s := range sections {
		if err := writeSection(out, s); err != nil {
			return count.n, fmt.Errorf("machine %q: %w", s.name, err)
		}
	}
	out.Write([]byte{0})
	out.Write(binary.AppendUvarint(nil, uint64(len(sections))))
	err := out.Flush()
	return count.n, err
}

func writeSection(out *bufio.Writer, s section) error {
	crc := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	io.WriteString(crc, s.name)
	out.Write(binary.AppendUvarint(nil, uint64(len(s.name))))
	out.WriteString(s.name)
	chunks := &chunkWriter{out: out, crc: crc}
	buffered := bufio.NewWriterSize(chunks, chunkBytes)
	if err := s.write(buffered); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	var end [16]byte
	binary.BigEndian.PutUint64(end[4:], chunks.n)
	binary.BigEndian.PutUint32(end[12:], crc.Sum32())
	_, err := out.Write(end[:])
	return err
}

// chunkWriter puts a length before every piece it gets.
type chunkWriter struct {
	out *bufio.Writer
	crc hash.Hash32
	n   uint64
}

func (c *chunkWriter) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		piece := p[:min(len(p), chunkBytes)]
		var head [4]byte
		binary.BigEndian.PutUint32(head[:], uint32(len(piece)))
		c.out.Write(head[:])
		if _, err := c.out.Write(piece); err != nil {
			return written, err
		}
		c.crc.Write(piece)
		c.n += uint64(len(piece))
		written += len(piece)
		p = p[len(piece):]
	}
	return written, nil
}

// readSections gives every section to restore, in order, and checks the stream to its end. A section's checksum is
// known only after restore has read it, so an error leaves machines in an undefined state: the node must stop.
func readSections(r io.Reader, restore func(name string, r io.Reader) error) error {
	in := bufio.NewReaderSize(r, chunkBytes+16)
	magic := make([]byte, len(snapshotMagic))
	if _, err := io.ReadFull(in, magic); err != nil {
		return fmt.Errorf("%w: no header: %w", errSnapshot, err)
	}
	if string(magic) != snapshotMagic {
		return fmt.Errorf("%w: not a snapshot, or of a version this program does not know", errSnapshot)
	}
	for n := uint64(0); ; n++ {
		size, err := binary.ReadUvarint(in)
		if err != nil {
			return fmt.Errorf("%w: cut short: %w", errSnapshot, err)
		}
		if size == 0 {
			return checkEnd(in, n)
		}
		if err := readSection(in, size, restore); err != nil {
			return err
		}
	}
}

func checkEnd(in *bufio.Reader, sections uint64) error {
	want, err := binary.ReadUvarint(in)
	if err != nil {
		return fmt.Errorf("%w: cut short: %w", errSnapshot, err)
	}
	if want != sections {
		return fmt.Errorf("%w: %d sections of %d", errSnapshot, sections, want)
	}
	return nil
}

func readSection(in *bufio.Reader, size uint64, restore func(string, io.Reader) error) error {
	if size > maxName {
		return fmt.Errorf("%w: a machine name of %d bytes", errSnapshot, size)
	}
	name := make([]byte, size)
	if _, err := io.ReadFull(in, name); err != nil {
		return fmt.Errorf("%w: cut short: %w", errSnapshot, err)
	}
	chunks := &chunkReader{in: in, crc: crc32.New(crc32.MakeTable(crc32.Castagnoli))}
	chunks.crc.Write(name)
	if err := restore(string(name), chunks); err != nil {
		if chunks.err != nil && chunks.err != io.EOF {
			err = chunks.err // the machine only repeats what the stream did to it
		}
		return fmt.Errorf("machine %q: %w", name, err)
	}
	if _, err := io.Copy(io.Discard, chunks); err != nil { // decoders may leave the last bytes unread
		return fmt.Errorf("machine %q: %w", name, err)
	}
	return nil
}

// chunkReader reads one section's state and ends with io.EOF only when length and checksum were right.
type chunkReader struct {
	in   *bufio.Reader
	crc  hash.Hash32
	n    uint64
	left uint32 // of the present chunk
	err  error
}

func (c *chunkReader) Read(p []byte) (int, error) {
	if c.err != nil || len(p) == 0 {
		return 0, c.err
	}
	if c.left == 0 {
		if c.err = c.next(); c.err != nil {
			return 0, c.err
		}
	}
	n, err := c.in.Read(p[:min(len(p), int(c.left))])
	c.crc.Write(p[:n])
	c.left -= uint32(n)
	c.n += uint64(n)
	if err != nil {
		c.err = fmt.Errorf("%w: cut short: %w", errSnapshot, err)
	}
	return n, c.err
}

// next reads the head of the next chunk, or the end of the section.
func (c *chunkReader) next() error {
	var head [4]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return fmt.Errorf("%w: cut short: %w", errSnapshot, err)
	}
	c.left = binary.BigEndian.Uint32(head[:])
	if c.left > chunkBytes {
		return fmt.Errorf("%w: a chunk of %d bytes", errSnapshot, c.left)
	}
	if c.left > 0 {
		return nil
	}
	var end [12]byte
	if _, err := io.ReadFull(c.in, end[:]); err != nil {
		return fmt.Errorf("%w: cut short: %w", errSnapshot, err)
	}
	if n := binary.BigEndian.Uint64(end[:]); n != c.n {
		return fmt.Errorf("%w: %d bytes of %d", errSnapshot, c.n, n)
	}
	if crc := binary.BigEndian.Uint32(end[8:]); crc != c.crc.Sum32() {
		return fmt.Errorf("%w: wrong checksum", errSnapshot)
	}
	return io.EOF
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
