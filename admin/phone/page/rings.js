// The tones a phone makes itself: the ring of an incoming call and the ringing heard by the caller.

export class Rings {
  // tone plays frequencies in a rhythm of [on, off] seconds until stop.
  tone(frequencies, volume, rhythm) {
    this.stop();
    const context = new AudioContext();
    const gain = context.createGain();
    gain.gain.value = 0;
    gain.connect(context.destination);
    const voices = frequencies.map((f) => {
      const voice = context.createOscillator();
      voice.frequency.value = f;
      voice.connect(gain);
      voice.start();
      return voice;
    });
    const [on, off] = rhythm;
    const beat = () => {
      const now = context.currentTime;
      gain.gain.setTargetAtTime(volume, now, 0.01);
      gain.gain.setTargetAtTime(0, now + on, 0.02);
    };
    beat();
    const timer = setInterval(beat, (on + off) * 1000);
    this.end = () => {
      clearInterval(timer);
      voices.forEach((v) => v.stop());
      context.close();
    };
  }

  ring() { this.tone([660, 880], 0.15, [0.8, 1.2]); }

  back() { this.tone([425], 0.06, [1, 4]); }

  stop() {
    this.end?.();
    this.end = null;
  }
}
