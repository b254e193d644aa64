// What can be measured of a call, from the browser's own statistics.

export async function devices() {
  try {
    return await navigator.mediaDevices.enumerateDevices();
  } catch {
    return [];
  }
}

export class Meters {
  constructor(call, tell) {
    let before = null;
    this.timer = setInterval(async () => {
      const pc = call.connection;
      if (!pc || pc.connectionState === 'closed') return;
      const now = read(await pc.getStats());
      tell({ in: loud(now.levelIn), out: loud(now.levelOut), text: words(before, now) });
      if (!before || now.at - before.at >= 3000) before = now;
    }, 250);
  }

  stop() {
    clearInterval(this.timer);
  }
}

// loud maps a linear level to what the ear makes of it: -60 dB is nothing.
function loud(level) {
  return level > 0 ? Math.max(0, 1 + 20 * Math.log10(level) / 60) : 0;
}

function read(report) {
  const out = { at: 0, levelIn: 0, levelOut: 0, got: 0, lost: 0, jitter: 0, rtt: null, codec: '' };
  const codecs = {};
  report.forEach((s) => {
    out.at = Math.max(out.at, s.timestamp);
    if (s.type === 'codec') codecs[s.id] = s.mimeType.replace(/^audio\//, '');
  });
  report.forEach((s) => {
    if (s.type === 'inbound-rtp' && s.kind === 'audio') {
      Object.assign(out, { levelIn: s.audioLevel ?? 0, got: s.packetsReceived, lost: s.packetsLost, jitter: s.jitter, codec: codecs[s.codecId] ?? '' });
    } else if (s.type === 'media-source' && s.kind === 'audio') {
      out.levelOut = s.audioLevel ?? 0;
    } else if (s.type === 'candidate-pair' && s.nominated && s.currentRoundTripTime !== undefined) {
      out.rtt = s.currentRoundTripTime;
    }
  });
  return out;
}

function words(before, now) {
  if (!now.got) return '';
  const parts = [now.codec];
  if (before && now.got > before.got) {
    const lost = Math.max(0, now.lost - before.lost);
    parts.push(`${(100 * lost / (lost + now.got - before.got)).toFixed(lost ? 1 : 0)} % lost`);
  }
  parts.push(`jitter ${Math.round(now.jitter * 1000)} ms`);
  if (now.rtt !== null) parts.push(`round trip ${Math.round(now.rtt * 1000)} ms`);
  return parts.filter(Boolean).join(' · ');
}
