package rtpengine

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	audio "tandem/rtpengine/codec"
	"tandem/rtpengine/prompts"
)

// Sounds are named so:
//
//	music                the melody that is built in
//	tone:busy            a call progress tone, British; tone.go has those of other countries
//	tone:busy:de         the same in Germany
//	/srv/sounds/a.wav    a WAV file
//	/srv/sounds/a.opus   a file of Ogg/Opus
//	acme/welcome         a prompt: what Config.Uploaded gives, else acme/welcome.wav (or .opus, .ogg) in Config.Prompts
//	tandem/goodbye       the same, and where there is no such file one that is built in (package prompts)
//
// sounds keeps them as they are sent: each is read once and shared by all who play it. Those that nobody plays make room, the
// longest unused first, when the memory is used up; those that somebody plays stay.
type sounds struct {
	codecs   *audio.Library // reads Opus; without libopus until Engine says otherwise
	prompts  string         // directory
	uploaded func(name string) (wav []byte, sum string, ok bool)
	limit    int64 // bytes of all
	log      *slog.Logger

	mu                       sync.Mutex
	kept                     map[string]*keptSound
	loading                  map[string]chan struct{} // closed when somebody's reading of that name has ended
	bytes                    int64
	uses                     uint64
	loads, evicted, failures uint64
}

// keptSound is a sound and who uses it.
type keptSound struct {
	*sound
	name    string
	players int
	used    uint64 // sounds.uses at its last use
	stamp   fileStamp
	gone    bool // a newer one has its name
}

// fileStamp tells whether a file, or what was uploaded, is what was read.
type fileStamp struct {
	size    int64
	changed time.Time
	sum     string // of what was uploaded
}

// soundPlace is where a sound comes from: a file, or what was uploaded; with neither it is built in.
type soundPlace struct {
	path  string
	wav   []byte
	stamp fileStamp
}

func (o *soundPlace) builtin() bool { return o.path == "" && o.wav == nil }

// ErrSoundMemory is told when the sounds that play leave no room for another one.
var ErrSoundMemory = errors.New("rtpengine: the memory for sounds is used up by those that play")

// take gives a sound to a player, who gives it back with release. It may read a file: not for a shard. A file that has changed
// since is read again; who plays the old one goes on with it. When the new one cannot be read, the old one is good enough.
func (s *sounds) take(name string) (*keptSound, error) {
	from, err := s.find(name)
	s.mu.Lock()
	for s.loading[name] != nil { // one reads, the others wait for it
		ended := s.loading[name]
		s.mu.Unlock()
		<-ended
		s.mu.Lock()
	}
	old := s.kept[name]
	if old != nil && err == nil && old.stamp == from.stamp {
		s.use(old)
		s.mu.Unlock()
		return old, nil
	}
	ended := make(chan struct{})
	s.loading[name] = ended
	s.mu.Unlock()
	var made *sound
	if err == nil {
		made, err = s.make(name, &from)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.loading, name)
	close(ended)
	if err == nil {
		return s.keep(name, made, from.stamp)
	}
	s.failures++
	if old = s.kept[name]; old != nil {
		s.log.Warn("a sound's file cannot be read any more; the one in memory is played", "sound", name, "error", err)
		s.use(old)
		return old, nil
	}
	return nil, err
}

// keep gives a sound its name; mu is held.
func (s *sounds) keep(name string, made *sound, stamp fileStamp) (*keptSound, error) {
	s.loads++
	if old := s.kept[name]; old != nil {
		s.forget(old)
	}
	for s.bytes+made.bytes() > s.limit {
		if !s.evict() {
			s.failures++
			return nil, ErrSoundMemory
		}
	}
	k := &keptSound{sound: made, name: name, stamp: stamp}
	s.kept[name] = k
	s.bytes += made.bytes()
	s.use(k)
	return k, nil
}

func (s *sounds) use(k *keptSound) {
	s.uses++
	k.used = s.uses
	k.players++
}

// release is a player's, once for each take.
func (s *sounds) release(k *keptSound) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k.players--; k.players == 0 && k.gone {
		s.bytes -= k.bytes()
	}
}

// forget takes a sound's name away; its memory counts for as long as it plays.
func (s *sounds) forget(k *keptSound) {
	k.gone = true
	delete(s.kept, k.name)
	if k.players == 0 {
		s.bytes -= k.bytes()
	}
}

// evict forgets the longest unused sound that nobody plays.
func (s *sounds) evict() bool {
	var oldest *keptSound
	for _, k := range s.kept {
		if k.players == 0 && (oldest == nil || k.used < oldest.used) {
			oldest = k
		}
	}
	if oldest == nil {
		return false
	}
	s.evicted++
	s.forget(oldest)
	return true
}

// find tells where a sound comes from now. What was uploaded is the same on all nodes, so it comes before the files of this one.
func (s *sounds) find(name string) (soundPlace, error) {
	var path string
	switch {
	case !strings.Contains(name, "/"):
		return soundPlace{}, nil
	case filepath.IsAbs(name):
		path = name
	default:
		if wav, sum, ok := s.uploads(name); ok {
			return soundPlace{wav: wav, stamp: fileStamp{size: int64(len(wav)), sum: sum}}, nil
		}
		if prompts.Has(name) && !s.replaced(name) {
			return soundPlace{}, nil
		}
		if !filepath.IsLocal(name) {
			return soundPlace{}, fmt.Errorf("rtpengine: there is no place for the prompt %q", name)
		}
		if s.prompts == "" {
			return soundPlace{}, fmt.Errorf("rtpengine: there is no prompt %q, and no place for those of this node", name)
		}
		path = s.prompt(name)
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && path != name:
		return soundPlace{}, fmt.Errorf("rtpengine: there is no prompt %q: it was not uploaded, and %s is not there", name, path)
	case err != nil:
		return soundPlace{}, fmt.Errorf("rtpengine: sound %q: %w", name, err)
	case !info.Mode().IsRegular():
		return soundPlace{}, fmt.Errorf("rtpengine: sound %q: %s is no file", name, path)
	}
	return soundPlace{path: path, stamp: fileStamp{size: info.Size(), changed: info.ModTime()}}, nil
}

// uploads is Config.Uploaded, if there is one.
func (s *sounds) uploads(name string) (wav []byte, sum string, ok bool) {
	if s.uploaded == nil {
		return nil, "", false
	}
	return s.uploaded(name)
}

// replaced tells whether the node has a file in place of a prompt that is built in.
func (s *sounds) replaced(name string) bool {
	if s.prompts == "" {
		return false
	}
	_, err := os.Stat(s.prompt(name))
	return err == nil
}

// prompt is the file of a prompt: acme/welcome is acme/welcome.wav, or where that is not there acme/welcome.opus or acme/welcome.ogg.
func (s *sounds) prompt(name string) string {
	path := filepath.Join(s.prompts, name)
	if slices.Contains([]string{".wav", ".opus", ".ogg"}, filepath.Ext(path)) {
		return path
	}
	for _, kind := range []string{".opus", ".ogg"} {
		if _, err := os.Stat(path + ".wav"); err == nil {
			break
		}
		if _, err := os.Stat(path + kind); err == nil {
			return path + kind
		}
	}
	return path + ".wav"
}

func (s *sounds) make(name string, from *soundPlace) (*sound, error) {
	if from.builtin() {
		samples, err := s.builtin(name)
		if err != nil {
			return nil, err
		}
		return newSound(samples), nil
	}
	in, done, err := s.openAt(name, from)
	if err != nil {
		return nil, err
	}
	defer done()
	limit := int(s.limit / 2)
	samples, whole := read(in, sampleRate, limit)
	switch {
	case !whole:
		return nil, s.tooLong(name)
	case len(samples) == 0:
		return nil, fmt.Errorf("rtpengine: sound %q: %s holds no samples", name, from.path)
	}
	return newSound(samples), nil
}

// builtin makes a sound that needs no file of the node.
func (s *sounds) builtin(name string) ([]int16, error) {
	if !prompts.Has(name) {
		return generate(name)
	}
	file, err := prompts.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	in, err := openWAV(file)
	if err != nil {
		return nil, fmt.Errorf("rtpengine: prompt %q: %w", name, err)
	}
	samples, whole := read(in, sampleRate, int(s.limit/2))
	if !whole {
		return nil, s.tooLong(name)
	}
	return samples, nil
}

// soundIn is a file that can be played.
type soundIn interface {
	hertz() int                      // samples a second
	next() (float32, bool)           // the next sample, the mean of the channels; false at the end
	seconds(fileBytes int64) float64 // how long it is at most, in a file of that size
}

// read gives the samples of a file at a rate, which is not above its own, at most limit of them, and whether those are all.
func read(in soundIn, rate, limit int) (samples []int16, whole bool) {
	if in.hertz() != rate {
		return newResampler(in.hertz(), rate).run(in.next, limit)
	}
	for {
		v, ok := in.next()
		if !ok {
			return samples, true
		}
		if len(samples) == limit {
			return samples, false
		}
		samples = append(samples, int16(v))
	}
}

// openAt opens what is not built in; done is called behind the last sample.
func (s *sounds) openAt(name string, from *soundPlace) (in soundIn, done func(), err error) {
	if from.wav != nil {
		if in, err = openWAV(bytes.NewReader(from.wav)); err != nil {
			return nil, nil, fmt.Errorf("rtpengine: prompt %q: %w", name, err)
		}
		return in, func() {}, nil
	}
	file, in, err := s.open(name, from.path)
	if err != nil {
		return nil, nil, err
	}
	return in, func() { file.Close() }, nil
}

func (s *sounds) open(name, path string) (*os.File, soundIn, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("rtpengine: sound %q: %w", name, err)
	}
	in, err := s.openSound(file)
	if err != nil {
		file.Close()
		return nil, nil, fmt.Errorf("rtpengine: sound %q: %s: %w", name, path, err)
	}
	return file, in, nil
}

// openSound looks at what a file is, whatever its name says.
func (s *sounds) openSound(file *os.File) (soundIn, error) {
	var magic [4]byte
	if n, _ := file.ReadAt(magic[:], 0); n == len(magic) && string(magic[:]) == "OggS" {
		return openOpus(file, s.codecs)
	}
	return openWAV(file)
}

func (s *sounds) tooLong(name string) error {
	return fmt.Errorf("rtpengine: sound %q is longer than the memory for all sounds, %d seconds", name, s.limit/2/sampleRate)
}

// check says what would keep a sound from being played, without keeping it.
func (s *sounds) check(name string) error {
	from, err := s.find(name)
	switch {
	case err != nil:
		return err
	case from.builtin() && !builtin(name) && !prompts.Has(name):
		return noSound(name)
	case from.builtin():
		return nil
	}
	in, done, err := s.openAt(name, &from)
	if err != nil {
		return err
	}
	done()
	if in.seconds(from.stamp.size) > float64(s.limit/2/sampleRate) {
		return s.tooLong(name)
	}
	return nil
}

// CheckSound says whether Play could play a sound now; nil when it could. It may read the beginning of a file.
func (e *Engine) CheckSound(name string) error { return e.sounds.check(name) }

// CheckSound is Engine.CheckSound for an engine that is not there, with Config.Prompts and Config.SoundBytes.
func CheckSound(prompts string, soundBytes int64, name string) error {
	return newSounds(&Config{Prompts: prompts, SoundBytes: soundBytes}).check(name)
}

// SoundStats are those of the sounds in memory.
type SoundStats struct {
	Kept     int
	Bytes    int64
	Limit    int64
	Loads    uint64 // sounds made or read from files
	Evicted  uint64 // sounds that made room for others
	Failures uint64 // sounds that could not be had
}

func (s *sounds) stats() SoundStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return SoundStats{Kept: len(s.kept), Bytes: s.bytes, Limit: s.limit, Loads: s.loads, Evicted: s.evicted, Failures: s.failures}
}

const defaultSoundBytes = 64 << 20

func newSounds(c *Config) *sounds {
	return &sounds{
		codecs: audio.Open("none"), prompts: c.Prompts, uploaded: c.Uploaded, limit: cmp.Or(c.SoundBytes, defaultSoundBytes), log: c.Log,
		kept: make(map[string]*keptSound), loading: make(map[string]chan struct{}),
	}
}
