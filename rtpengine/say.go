package rtpengine

import "time"

// Say plays a sound once, from its beginning, in place of all else; then the endpoint is silent. It tells how long the sound is. It may read
// a file.
func (p *Endpoint) Say(name string) (time.Duration, error) {
	snd, err := p.take(name)
	if err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		p.engine.sounds.release(snd)
		return 0, ErrClosed
	}
	p.engine.startPlaying()
	p.stopPlaying()
	p.leaveRoom()
	length := time.Duration(snd.packets()) * frameTime
	p.echo, p.sound, p.saying = false, snd, p.engine.now()+int64(length)
	p.perform()
	return length, nil
}

// Hush ends what Echo, Play or Say began; the endpoint is silent, and hears digits.
func (p *Endpoint) Hush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.stopPlaying()
	p.leaveRoom()
	p.echo = false
	p.perform()
}
