package ng

import (
	"encoding/base64"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"tandem/rtpengine"
)

// What a proxy does to a call in progress: sounds, blocks, recordings.

// party is one side of a dialogue.
type party struct {
	d    *dialogue
	side rtpengine.Side
}

// parties are those that a request chooses by from-tag, by the address of their descriptions or by label; all of the call when it says so.
// chosen is false when it names nobody.
func (c *call) parties(ask dict) (list []party, chosen bool) {
	tag, label := ask.text("from-tag"), ask.text("label")
	if label == "" {
		label = ask.text("from-label")
	}
	addr, _ := netip.ParseAddr(ask.text("address"))
	all := ask.wants("all")
	for _, d := range c.dialogues {
		for _, side := range [...]rtpengine.Side{rtpengine.A, rtpengine.B} {
			if all || label != "" && d.labels[side] == label || addr.IsValid() && d.places[side] == addr.Unmap() ||
				label == "" && !addr.IsValid() && tag != "" && d.has(side, tag) {
				list = append(list, party{d, side})
			}
		}
	}
	return list, all || label != "" || addr.IsValid() || tag != ""
}

// wants reports whether a flag is given.
func (d dict) wants(flag string) bool {
	return slices.Contains(d.words("flags"), flag) || flag == "all" && d.text("all") != "" && d.text("all") != "none"
}

// dashed is a flag or key as it is written here: rtpengine takes dashes, spaces and underscores.
func dashed(word string) string { return strings.NewReplacer(" ", "-", "_", "-").Replace(word) }

// common are the keys that proxies send with everything, or that choose a party.
var common = map[string]bool{
	"command": true, "call-id": true, "from-tag": true, "to-tag": true, "via-branch": true, "flags": true, "received-from": true, "supports": true,
	"SIP-message-type": true, "SIP-code": true, "address": true, "label": true, "from-label": true, "to-label": true, "all": true,
}

// meantBy are the other keys that mean something to a command.
var meantBy = map[string][]string{
	"play media":     {"file", "blob", "blob64", "db-id", "repeat-times", "repeat-duration", "duration", "start-pos"},
	"play DTMF":      {"code", "digit"},
	"block DTMF":     {"DTMF-security"},
	"stop recording": {"pause"},
}

// intervene carries out a command that acts on a call in progress, and says what of it is not done. Later is the part of it that may read a file: not
// for the loop.
func (s *Server) intervene(command string, ask dict, c *call) (reply dict, later func() dict) {
	var lacks []string
	for key := range ask {
		if !common[key] && !slices.Contains(meantBy[command], key) {
			lacks = append(lacks, key)
		}
	}
	for _, flag := range ask.words("flags") {
		if !meant[flag] && flag != "pause" && flag != "discard-recording" {
			lacks = append(lacks, flag)
		}
	}
	said := s.unmet(lacks, ask)
	remark := func(reply dict) dict {
		if warning := reply.text("warning"); warning != "" {
			said = append(said, warning)
		}
		if reply["result"] == "ok" && said != nil {
			reply["warning"] = strings.Join(said, "; ")
		}
		return reply
	}
	if reply, later = s.carryOn(command, ask, c); later == nil {
		return remark(reply), nil
	}
	slow := later
	return nil, func() dict { return remark(slow()) }
}

// carryOn is intervene without the remarks.
func (s *Server) carryOn(command string, ask dict, c *call) (reply dict, later func() dict) {
	switch command {
	case "play media":
		return s.playMedia(ask, c)
	case "stop media":
		return stopMedia(ask, c), nil
	case "play DTMF":
		return playDTMF(ask, c), nil
	case "start recording":
		return s.startRecording(c), nil
	case "stop recording":
		if ask.wants("pause") || ask.text("pause") == "yes" {
			return failure(noPause), nil
		}
		reply = stopRecording(c)
		if ask.wants("discard-recording") {
			return failure("discard-recording is not available in Tandem: the recording has ended and its file stays"), nil
		}
		return reply, nil
	}
	return block(command, ask, c), nil
}

const (
	nobodyChosen = "no participant of the call is named: give from-tag, address, label or the flag all"
	noParty      = "no participant of the call has this tag, address or label"
	noPause      = "pause recording is not available in Tandem: stop recording ends the file, and start recording begins another one"
)

// playMedia plays a file, a prompt, a tone or a WAV file in the message to the parties that are chosen.
func (s *Server) playMedia(ask dict, c *call) (reply dict, later func() dict) {
	list, chosen := c.parties(ask)
	switch {
	case !chosen:
		return failure(nobodyChosen), nil
	case len(list) == 0:
		return failure(noParty), nil
	}
	o, wrong := playOptions(ask)
	if wrong != "" {
		return failure(wrong), nil
	}
	play, wrong := soundOf(ask, o)
	if wrong != "" {
		return failure(wrong), nil
	}
	sessions := make([]party, len(list))
	copy(sessions, list)
	return nil, func() dict {
		var length time.Duration
		var problem error
		played := false
		for _, p := range sessions {
			d, err := play(p.d.session, p.side)
			if err != nil {
				problem = err
				continue
			}
			length, played = d, true
		}
		if !played {
			return failure(problem.Error())
		}
		reply := dict{"result": "ok", "duration": length.Milliseconds()}
		if problem != nil { // of several parties one may be unable to hear it
			reply["warning"] = problem.Error()
		}
		return reply
	}
}

// playOptions reads how often and how long.
func playOptions(ask dict) (o rtpengine.PlayOptions, wrong string) {
	o.Rounds = 1
	for _, k := range [...]struct {
		key  string
		most int64
		set  func(int64)
	}{
		{"repeat-times", 1 << 20, func(n int64) { o.Rounds = int(max(n, 1)) }},
		{"repeat-duration", 86_400_000, func(n int64) {
			if o.Limit = time.Duration(n) * time.Millisecond; n > 0 && ask["repeat-times"] == nil {
				o.Rounds = 0
			}
		}},
		{"duration", 86_400_000, func(n int64) { o.Limit = time.Duration(n) * time.Millisecond }},
		{"start-pos", 86_400_000, func(n int64) { o.Start = time.Duration(n) * time.Millisecond }},
	} {
		if ask[k.key] == nil {
			continue
		}
		n, ok := ask.number(k.key)
		if !ok || n < 0 || n > k.most {
			return o, k.key + " is no number that can be used"
		}
		k.set(n)
	}
	return o, ""
}

// soundOf is how the sound of a request is played to one side.
func soundOf(ask dict, o rtpengine.PlayOptions) (play func(*rtpengine.Session, rtpengine.Side) (time.Duration, error), wrong string) {
	wav := []byte(ask.text("blob"))
	if text := ask.text("blob64"); text != "" {
		var err error
		if wav, err = base64.StdEncoding.DecodeString(text); err != nil {
			return nil, "blob64 is not base64"
		}
	}
	file := ask.text("file")
	switch {
	case file != "":
		return func(s *rtpengine.Session, side rtpengine.Side) (time.Duration, error) { return s.Play(side, file, o) }, ""
	case len(wav) > 0:
		return func(s *rtpengine.Session, side rtpengine.Side) (time.Duration, error) { return s.PlayWAV(side, wav, o) }, ""
	case ask["db-id"] != nil:
		return nil, "db-id is not available in Tandem: there is no database of sounds; give file, blob or blob64"
	}
	return nil, "no media file is named: give file, blob or blob64"
}

func stopMedia(ask dict, c *call) dict {
	list, chosen := c.parties(ask)
	if !chosen {
		return failure(nobodyChosen)
	}
	stopped := false
	for _, p := range list {
		stopped = p.d.session.StopPlaying(p.side) || stopped
	}
	if !stopped {
		return dict{"result": "ok", "warning": "nothing was playing"}
	}
	return dict{"result": "ok"}
}

// playDTMF has the parties that are chosen press a key: the others hear it. How long and how loud it is, is the engine's matter.
func playDTMF(ask dict, c *call) dict {
	list, chosen := c.parties(ask)
	switch {
	case !chosen:
		return failure(nobodyChosen)
	case len(list) == 0:
		return failure(noParty)
	}
	code := ask.text("code")
	if code == "" {
		code = ask.text("digit")
	}
	for _, key := range [...]string{"code", "digit"} {
		if n, ok := ask[key].(int64); ok {
			if n < 0 || n > 15 {
				return failure("a code is a number from 0 to 15 or one of 0-9 * # A-D")
			}
			code = "0123456789*#ABCD"[n : n+1]
		}
	}
	if len(code) != 1 || code == "," {
		return failure("a code is a number from 0 to 15 or one of 0-9 * # A-D")
	}
	for _, p := range list {
		if err := p.d.session.SendDigits(p.side.Other(), code); err != nil {
			return failure(err.Error())
		}
	}
	return dict{"result": "ok"}
}

// blocks are the commands that keep something from being heard, and what.
var blocks = map[string]rtpengine.Block{
	"block media": rtpengine.BlockMedia, "block DTMF": rtpengine.BlockDTMF, "silence media": rtpengine.SilenceMedia,
	"unblock media": rtpengine.BlockMedia, "unblock DTMF": rtpengine.BlockDTMF, "unsilence media": rtpengine.SilenceMedia,
}

// block sets or lifts a block of a whole call, or of parties. Both count: lifting that of the call leaves those of parties, unless the flag
// all says otherwise. A from-tag is looked at only with the flag directional, because proxies send one with everything.
func block(command string, ask dict, c *call) dict {
	what, on := blocks[command], !strings.HasPrefix(command, "un")
	if mode := ask.text("DTMF-security"); mode != "" && what == rtpengine.BlockDTMF && on && mode != "drop" {
		return failure("DTMF-security=" + short(mode) + " is not available in Tandem: blocked digits are dropped")
	}
	directed := ask.wants("directional") || ask.text("address") != "" || ask.text("label") != "" || ask.text("from-label") != ""
	if directed && !ask.wants("all") {
		list, _ := c.parties(ask)
		if len(list) == 0 {
			return failure(noParty)
		}
		for _, p := range list {
			p.d.blocks[p.side] = with(p.d.blocks[p.side], what, on)
		}
	} else {
		c.block = with(c.block, what, on)
		if !on && ask.wants("all") {
			for _, d := range c.dialogues {
				d.blocks[rtpengine.A] = with(d.blocks[rtpengine.A], what, on)
				d.blocks[rtpengine.B] = with(d.blocks[rtpengine.B], what, on)
			}
		}
	}
	c.enforceBlocks()
	return dict{"result": "ok"}
}

func with(set, what rtpengine.Block, on bool) rtpengine.Block {
	if on {
		return set | what
	}
	return set &^ what
}

func (c *call) enforceBlocks() {
	for _, d := range c.dialogues {
		for side, own := range d.blocks {
			d.session.Block(rtpengine.Side(side), own|c.block)
		}
	}
}

// startRecording records every dialogue of a call; those that are being recorded already stay so.
func (s *Server) startRecording(c *call) dict {
	files := []any{}
	for _, d := range c.dialogues {
		file, err := c.record(d)
		if err != nil {
			return failure(err.Error())
		}
		files = append(files, file)
	}
	return dict{"result": "ok", "recording-files": files}
}

var errUnrecorded = errors.New("the proxy has excluded this call from recording")

// record starts the recording of a dialogue unless it goes on already, and says where.
func (c *call) record(d *dialogue) (file string, err error) {
	if c.unrecorded {
		return "", errUnrecorded
	}
	rec, err := d.session.Record()
	switch {
	case errors.Is(err, rtpengine.ErrRecording):
		return d.session.Recording(), nil
	case err != nil:
		return "", err
	}
	return rec.File, nil
}

func stopRecording(c *call) dict {
	stopped := false
	for _, d := range c.dialogues {
		stopped = d.session.StopRecording() || stopped
	}
	if !stopped {
		return dict{"result": "ok", "warning": "the call was not being recorded"}
	}
	return dict{"result": "ok"}
}
