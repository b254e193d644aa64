package rtpengine

import (
	"encoding/binary"
	"math"
	"math/bits"
	"time"
)

// Elements of Matroska (RFC 9559 §5) and EBML (RFC 8794) that we write. An element is its id, the length of what follows, and that:
//
//	EBML | Segment { SeekHead | Info | Tracks { TrackEntry ... } | Cluster { Timestamp | SimpleBlock ... } ... | Cues }
const (
	mkvEBML        = 0x1a45dfa3
	mkvVersion     = 0x4286
	mkvReadVersion = 0x42f7
	mkvMaxID       = 0x42f2
	mkvMaxSize     = 0x42f3
	mkvDocType     = 0x4282
	mkvDocVersion  = 0x4287
	mkvDocRead     = 0x4285
	mkvVoid        = 0xec

	mkvSegment   = 0x18538067
	mkvSeekHead  = 0x114d9b74
	mkvSeek      = 0x4dbb
	mkvSeekID    = 0x53ab
	mkvSeekPos   = 0x53ac
	mkvInfo      = 0x1549a966
	mkvScale     = 0x2ad7b1
	mkvDuration  = 0x4489
	mkvDate      = 0x4461
	mkvMuxer     = 0x4d80
	mkvWriter    = 0x5741
	mkvTracks    = 0x1654ae6b
	mkvEntry     = 0xae
	mkvNumber    = 0xd7
	mkvUID       = 0x73c5
	mkvType      = 0x83
	mkvLacing    = 0x9c
	mkvDefault   = 0x88
	mkvName      = 0x536e
	mkvLanguage  = 0x22b59c
	mkvCodec     = 0x86
	mkvPrivate   = 0x63a2
	mkvDelay     = 0x56aa
	mkvPreRoll   = 0x56bb
	mkvVideo     = 0xe0
	mkvWidth     = 0xb0
	mkvHeight    = 0xba
	mkvAudio     = 0xe1
	mkvFrequency = 0xb5
	mkvChannels  = 0x9f
	mkvBitDepth  = 0x6264

	mkvCluster   = 0x1f43b675
	mkvTimestamp = 0xe7
	mkvBlock     = 0xa3
	mkvCues      = 0x1c53bb6b
	mkvCuePoint  = 0xbb
	mkvCueTime   = 0xb3
	mkvCueTrack  = 0xb7
	mkvCueNumber = 0xf7
	mkvCuePlace  = 0xf1
)

// ebml builds elements.
type ebml []byte

// id appends an id, whose own first octet says how long it is.
func (b ebml) id(id uint32) ebml {
	for n := (bits.Len32(id) - 1) / 8; n >= 0; n-- {
		b = append(b, byte(id>>(8*n)))
	}
	return b
}

// length appends a length in as few octets as it needs (RFC 8794 §4); all ones in seven bits a octet mean that it is unknown.
func (b ebml) length(n int) ebml {
	octets := 1
	for ; n >= 1<<(7*octets)-1; octets++ {
	}
	return b.longLength(uint64(n), octets)
}

func (b ebml) longLength(n uint64, octets int) ebml {
	n |= 1 << (7 * octets)
	for i := octets - 1; i >= 0; i-- {
		b = append(b, byte(n>>(8*i)))
	}
	return b
}

func (b ebml) bytes(id uint32, v []byte) ebml { return append(b.id(id).length(len(v)), v...) }

func (b ebml) text(id uint32, v string) ebml { return append(b.id(id).length(len(v)), v...) }

func (b ebml) number(id uint32, v uint64) ebml {
	n := max(1, (bits.Len64(v)+7)/8)
	b = b.id(id).length(n)
	for i := n - 1; i >= 0; i-- {
		b = append(b, byte(v>>(8*i)))
	}
	return b
}

func (b ebml) float(id uint32, v float64) ebml {
	return binary.BigEndian.AppendUint64(b.id(id).length(8), math.Float64bits(v))
}

// date appends nanoseconds since the year 2001.
func (b ebml) date(id uint32, t time.Time) ebml {
	ns := t.Sub(time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)).Nanoseconds()
	return binary.BigEndian.AppendUint64(b.id(id).length(8), uint64(ns))
}

// void appends n octets that say nothing, at least 9: room for what is known later.
func (b ebml) void(n int) ebml {
	return append(b.id(mkvVoid).longLength(uint64(n-9), 8), make([]byte, n-9)...)
}
