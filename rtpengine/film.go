package rtpengine

import (
	"errors"
	"os"
	"slices"
	"time"

	audio "tandem/rtpengine/codec"
)

// film writes a recording with pictures as Matroska (RFC 9559), or WebM where everything in it is what that allows: a video track for each side
// and one audio track, caller left. Clusters are written whole, once a second, in a segment of unknown length, so that the file can be played as it
// stands; when the recording ends, its length and an index to jump by are filled in.
type film struct {
	file   *os.File
	began  time.Time
	rate   int
	sides  *opusSides // nil: 16 bit samples
	scenes [2]filmTrack
	begun  bool // the head is written

	held    []int16 // less than a packet
	samples int64   // in blocks so far, of each channel
	pcm     []byte
	blocks  []filmBlock // that are not written

	data    int64 // where the segment's content begins
	seek    int64 // room for its index of elements
	length  int64 // and for how long it is
	cues    ebml
	end     int64 // ms
	written int64
	buf     ebml
}

// filmTrack is the video of a side.
type filmTrack struct {
	wanted        bool
	known         bool // a key picture has come
	medium        medium
	width, height int
	private       []byte
}

// filmBlock is a picture or some sound.
type filmBlock struct {
	track int
	at    int64 // ms
	order int64 // never less than that of the block before in its track
	key   bool
	data  []byte
}

const (
	filmAudio  = 3               // track number; those of the videos are 1 and 2
	filmHead   = 3 * time.Second // how long the head waits for what the pictures are
	filmSeek   = 40              // octets of the room for the seek head
	filmLength = 11              // and of that for the duration
)

// suffix is a film's: WebM has VP8, VP9 and Opus alone.
func filmSuffix(scenes [2]medium, opus bool) string {
	if !opus || slices.Contains(scenes[:], mediumH264) {
		return ".mkv"
	}
	return ".webm"
}

func makeFilm(lib *audio.Library, r *Recording) (*film, error) {
	file, err := os.OpenFile(r.File, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	f := &film{file: file, began: r.Began, rate: r.rate}
	for i, m := range r.scenes {
		f.scenes[i] = filmTrack{wanted: m != 0, medium: m, width: 640, height: 480}
	}
	if lib.Encodes(audio.Opus) {
		if f.sides, err = newOpusSides(lib, r.rate, 2); err != nil {
			file.Close()
			return nil, err
		}
	}
	return f, nil
}

// picture takes a picture of a side; false when the file has no place for it, because the side has changed its codec.
func (f *film) picture(side int, p *picture, from *pictures) bool {
	t := &f.scenes[side]
	if !f.begun {
		t.medium = from.medium
	}
	if t.medium != from.medium || !t.wanted {
		return false
	}
	if p.key && !t.known {
		t.known = true
		if p.width > 0 && p.height > 0 {
			t.width, t.height = p.width, p.height
		}
	}
	if t.medium == mediumH264 && !f.begun {
		t.private = from.sets.configuration()
	}
	f.add(filmBlock{track: side + 1, at: max(0, p.pos) * 1000 / sampleRate, key: p.key, data: p.data})
	return true
}

func (f *film) add(b filmBlock) {
	b.order = b.at
	for i := len(f.blocks) - 1; i >= 0; i-- {
		if f.blocks[i].track == b.track {
			b.order = max(b.order, f.blocks[i].order)
			break
		}
	}
	f.blocks = append(f.blocks, b)
}

// append takes the sound of a while, and writes it with the pictures that were taken before.
func (f *film) append(pcm []int16) error {
	if err := f.sound(pcm); err != nil {
		return err
	}
	return f.write(false)
}

func (f *film) sound(pcm []int16) error {
	f.held = append(f.held, pcm...)
	frame := f.rate / 50 * 2
	at := 0
	for ; at+frame <= len(f.held); at += frame {
		data, err := f.encode(f.held[at : at+frame])
		if err != nil {
			return err
		}
		f.add(filmBlock{track: filmAudio, at: f.samples * 1000 / int64(f.rate), key: true, data: slices.Clone(data)})
		f.samples += int64(frame / 2)
	}
	f.held = f.held[:copy(f.held, f.held[at:])]
	return nil
}

func (f *film) encode(pcm []int16) ([]byte, error) {
	if f.sides != nil {
		return f.sides.encode(pcm)
	}
	f.pcm = f.pcm[:0]
	for _, v := range pcm {
		f.pcm = append(f.pcm, byte(v), byte(v>>8))
	}
	return f.pcm, nil
}

// write writes what waits, as soon as it is known what the pictures are, or is not going to be.
func (f *film) write(last bool) error {
	if !f.begun {
		if !last && f.samples < int64(f.rate)*int64(filmHead/time.Second) && slices.ContainsFunc(f.scenes[:], func(t filmTrack) bool { return t.wanted && !t.known }) {
			return nil
		}
		f.begin(last)
	}
	slices.SortStableFunc(f.blocks, func(a, b filmBlock) int { return int(a.order - b.order) })
	for rest := f.blocks; len(rest) > 0; {
		rest = f.cluster(rest)
	}
	clear(f.blocks)
	f.blocks = f.blocks[:0]
	n, err := f.file.WriteAt(f.buf, f.written)
	f.written += int64(n)
	f.buf = f.buf[:0]
	return err
}

// cluster takes blocks until their times are too far from the first one's: a block says by how many milliseconds in 16 bits.
func (f *film) cluster(blocks []filmBlock) (rest []filmBlock) {
	base := max(0, blocks[0].at)
	n, cued := 0, false
	body := ebml(nil).number(mkvTimestamp, uint64(base))
	for ; n < len(blocks); n++ {
		b := &blocks[n]
		d := b.at - base
		if d > 1<<14 || d < -1<<14 {
			break
		}
		flags := byte(0)
		if b.key {
			flags = 0x80
		}
		if b.key && b.track != filmAudio && !cued {
			cued = true
			f.cue(b, f.written+int64(len(f.buf))-f.data)
		}
		body = append(body.id(mkvBlock).length(4+len(b.data)), 0x80|byte(b.track), byte(d>>8), byte(d), flags)
		body = append(body, b.data...)
		f.end = max(f.end, b.at+20)
	}
	f.buf = f.buf.bytes(mkvCluster, body)
	return blocks[n:]
}

// cue notes where one can jump to.
func (f *film) cue(b *filmBlock, place int64) {
	at := ebml(nil).number(mkvCueNumber, uint64(b.track)).number(mkvCuePlace, uint64(place))
	f.cues = f.cues.bytes(mkvCuePoint, ebml(nil).number(mkvCueTime, uint64(max(0, b.at))).bytes(mkvCueTrack, at))
}

// begin writes the head.
func (f *film) begin(last bool) {
	f.begun = true
	kind := "webm"
	tracks := ebml(nil)
	first := uint64(1)
	for i, t := range f.scenes {
		if !t.wanted || last && !t.known {
			f.scenes[i].wanted = false
			continue
		}
		if t.medium == mediumH264 {
			kind = "matroska"
		}
		tracks = tracks.bytes(mkvEntry, t.entry(i, first))
		first = 0
	}
	if f.sides == nil {
		kind = "matroska"
	}
	tracks = tracks.bytes(mkvEntry, f.audioEntry())
	head := ebml(nil).number(mkvVersion, 1).number(mkvReadVersion, 1).number(mkvMaxID, 4).number(mkvMaxSize, 8).
		text(mkvDocType, kind).number(mkvDocVersion, 4).number(mkvDocRead, 2)
	f.buf = f.buf.bytes(mkvEBML, head).id(mkvSegment).longLength(1<<56-1, 8)
	f.data = int64(len(f.buf))
	f.seek = f.data
	f.buf = f.buf.void(filmSeek)
	info := ebml(nil).number(mkvScale, 1_000_000).date(mkvDate, f.began).text(mkvMuxer, "Tandem").text(mkvWriter, "Tandem")
	size := len(info)
	f.buf = f.buf.bytes(mkvInfo, info.void(filmLength))
	f.length = int64(len(f.buf)) - int64(len(info.void(filmLength))-size)
	f.buf = f.buf.bytes(mkvTracks, tracks)
}

// entry describes a side's video.
func (t *filmTrack) entry(side int, first uint64) ebml {
	codec := map[medium]string{mediumVP8: "V_VP8", mediumVP9: "V_VP9", mediumH264: "V_MPEG4/ISO/AVC"}[t.medium]
	b := ebml(nil).number(mkvNumber, uint64(side+1)).number(mkvUID, uint64(side+1)).number(mkvType, 1).number(mkvLacing, 0).number(mkvDefault, first).
		text(mkvName, [2]string{"caller", "called"}[side]).text(mkvLanguage, "und").text(mkvCodec, codec)
	if len(t.private) > 0 {
		b = b.bytes(mkvPrivate, t.private)
	}
	return b.bytes(mkvVideo, ebml(nil).number(mkvWidth, uint64(t.width)).number(mkvHeight, uint64(t.height)))
}

func (f *film) audioEntry() ebml {
	b := ebml(nil).number(mkvNumber, filmAudio).number(mkvUID, filmAudio).number(mkvType, 2).number(mkvLacing, 0).
		text(mkvName, "caller left, called right").text(mkvLanguage, "und")
	if f.sides == nil {
		return b.text(mkvCodec, "A_PCM/INT/LIT").
			bytes(mkvAudio, ebml(nil).float(mkvFrequency, float64(f.rate)).number(mkvChannels, 2).number(mkvBitDepth, 16))
	}
	return b.text(mkvCodec, "A_OPUS").bytes(mkvPrivate, f.sides.head()).number(mkvDelay, opusDelay*1_000_000/48).number(mkvPreRoll, 80_000_000).
		bytes(mkvAudio, ebml(nil).float(mkvFrequency, opusClock).number(mkvChannels, 2))
}

func (f *film) octets() int64 { return f.written }

// close writes what is left and fills in what was not known. Until then the file is as good without.
func (f *film) close() error {
	err := f.sound(make([]int16, f.rate/50*2)) // the rest of a packet, and what the encoder has held back
	if err == nil {
		err = f.write(true)
	}
	if err == nil {
		err = f.complete()
	}
	return errors.Join(err, f.file.Close())
}

func (f *film) complete() error {
	place := f.written - f.data
	index := ebml(nil)
	if len(f.cues) > 0 {
		index = index.bytes(mkvCues, f.cues)
	}
	if _, err := f.file.WriteAt(index, f.written); err != nil {
		return err
	}
	f.written += int64(len(index))
	if len(f.cues) > 0 {
		seek := ebml(nil).bytes(mkvSeek, ebml(nil).bytes(mkvSeekID, ebml(nil).id(mkvCues)).number(mkvSeekPos, uint64(place)))
		head := ebml(nil).bytes(mkvSeekHead, seek)
		if _, err := f.file.WriteAt(head.void(filmSeek-len(head)), f.seek); err != nil {
			return err
		}
	}
	if _, err := f.file.WriteAt(ebml(nil).float(mkvDuration, float64(f.end)), f.length); err != nil {
		return err
	}
	_, err := f.file.WriteAt(ebml(nil).longLength(uint64(f.written-f.data), 8), f.data-8)
	return err
}
