package rtpengine

import (
	"cmp"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	audio "tandem/rtpengine/codec"
)

// RecordingConfig says where recordings go and what they may use.
type RecordingConfig struct {
	Dir      string          // made when absent; "" means that nothing is recorded
	MaxTime  time.Duration   // of one recording, then it ends; default 4 h
	MaxBytes int64           // of all files in Dir; beyond it recordings end and none begins; default 50 GiB
	AtOnce   int             // default 500
	Format   RecordingFormat // default RecordWAV
	Video    bool            // calls with video are recorded with their pictures, as WebM or Matroska, whatever Format says
}

// recorder writes all recordings in one goroutine, so that a slow disk slows neither a shard nor signalling: then the taps run over,
// which is counted, and the recordings are silent there.
type recorder struct {
	cfg    RecordingConfig
	codecs *audio.Library
	log    *slog.Logger
	now    func() int64
	wake   chan struct{} // buffered by one
	count  atomic.Uint64 // recordings begun

	mu   sync.Mutex
	live map[*Recording]struct{}

	// The worker's own:
	used     int64 // octets in Dir
	measured int64 // when they were counted, engine ns; 0 = never

	refused, failed, lost, bytes, spoilt atomic.Uint64
}

func newRecorder(c *Config, codecs *audio.Library, now func() int64) *recorder {
	rc := c.Recording
	rc.MaxTime = cmp.Or(rc.MaxTime, 4*time.Hour)
	rc.MaxBytes = cmp.Or(rc.MaxBytes, 50<<30)
	rc.AtOnce = cmp.Or(rc.AtOnce, 500)
	rc.Format = cmp.Or(rc.Format, RecordWAV)
	if rc.Format == RecordOgg && !codecs.Encodes(audio.Opus) {
		c.Log.Warn("recordings are WAV files: Ogg/Opus cannot be written here", "reason", codecs.Missing())
		rc.Format = RecordWAV
	}
	return &recorder{cfg: rc, codecs: codecs, log: c.Log, now: now, wake: make(chan struct{}, 1), live: make(map[*Recording]struct{})}
}

func (r *recorder) add(rec *Recording) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.cfg.Dir == "" && rec.takeOf == nil:
		return ErrNoRecording
	case len(r.live) >= r.cfg.AtOnce:
		r.refused.Add(1)
		return ErrRecordingBusy
	}
	r.live[rec] = struct{}{}
	r.nudge()
	return nil
}

func (r *recorder) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// recordEvery is how often the taps are emptied; they hold eight times as much.
const recordEvery = 200 * time.Millisecond

// run writes until stop is closed, and then what is left. The shards have ended before: nothing comes any more.
func (r *recorder) run(stop <-chan struct{}) {
	ticker := time.NewTicker(recordEvery)
	defer ticker.Stop()
	for {
		beat := ticker.C
		if r.busy() == 0 {
			beat = nil
		}
		select {
		case <-stop:
			r.step()
			return
		case <-r.wake:
		case <-beat:
		}
		r.step()
	}
}

func (r *recorder) busy() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.live)
}

// step brings every recording up to date.
func (r *recorder) step() {
	r.mu.Lock()
	all := make([]*Recording, 0, len(r.live))
	for rec := range r.live {
		all = append(all, rec)
	}
	r.mu.Unlock()
	for _, rec := range all {
		before := rec.octets()
		if over := rec.step(r, r.now()); over {
			r.mu.Lock()
			delete(r.live, rec)
			r.mu.Unlock()
		}
		grown := rec.octets() - before
		if rec.takeOf == nil {
			r.used += grown
		}
		r.bytes.Add(uint64(grown))
		switch {
		case rec.over():
		case r.now()-rec.began >= int64(rec.longest(r.cfg.MaxTime)):
			r.end(rec, EndedLong)
		case rec.takeOf == nil && r.used >= r.cfg.MaxBytes:
			r.end(rec, "the room for recordings is used up")
		}
	}
}

// end ends a recording for a reason of the recorder's own; its next step completes the file.
func (r *recorder) end(rec *Recording, reason string) {
	rec.reason = reason
	rec.stop()
	r.nudge()
}

// makeRoom makes the directory and sees whether there is room for another file. Files that an operator has taken away no longer count.
func (r *recorder) makeRoom() error {
	if err := os.MkdirAll(r.cfg.Dir, 0o700); err != nil {
		return err
	}
	if now := r.now(); r.measured == 0 || now-r.measured > int64(10*time.Second) {
		used := int64(0)
		err := filepath.WalkDir(r.cfg.Dir, func(_ string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
				used += info.Size()
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("count what is in %s: %w", r.cfg.Dir, err)
		}
		r.used, r.measured = used, max(now, 1)
	}
	if r.used >= r.cfg.MaxBytes {
		return ErrRecordingFull
	}
	return nil
}

// ended counts a recording that is over, and says what went wrong with it.
func (r *recorder) ended(rec *Recording, end *RecordingEnd) {
	r.lost.Add(end.Lost)
	r.spoilt.Add(end.Spoilt)
	if foreign := rec.tap.foreign.Load(); foreign > 0 && !rec.tracks[0].started && !rec.tracks[1].started {
		r.log.Warn("a recording is silent: the call used a codec that cannot be decoded here", "call", rec.call, "file", rec.File)
	}
	switch {
	case end.Err != nil:
		r.failed.Add(1)
		r.log.Error("a recording failed", "call", rec.call, "file", rec.File, "error", end.Err)
	case end.Reason != "" && rec.takeOf == nil:
		r.log.Warn("a recording ended before its call", "call", rec.call, "file", rec.File, "reason", end.Reason)
	case end.Lost > 0:
		r.log.Warn("a recording has gaps: the disk was too slow", "call", rec.call, "file", rec.File, "packets", end.Lost)
	}
}

// RecordingStats are those of all recordings.
type RecordingStats struct {
	Now     int
	Begun   uint64
	Refused uint64 // over Config.Recording.AtOnce
	Failed  uint64 // could not begin, or not be written
	Lost    uint64 // packets there was no room for
	Spoilt  uint64 // pictures left out because something of them was missing, or of one before
	Bytes   uint64 // written
}

func (r *recorder) stats() RecordingStats {
	return RecordingStats{
		Now: r.busy(), Begun: r.count.Load(), Refused: r.refused.Load(), Failed: r.failed.Load(), Lost: r.lost.Load(), Spoilt: r.spoilt.Load(), Bytes: r.bytes.Load(),
	}
}
