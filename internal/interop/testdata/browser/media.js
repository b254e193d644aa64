// What both browser phones of the tests share: the microphone, what is heard and seen, and how long the first sound took.
'use strict';

const mine = { stream: null, connection: null, began: 0, ear: null };

// valve, when it is shut, keeps the pictures that have come from the decoder, as if they had been lost.
const valve = new Worker(URL.createObjectURL(new Blob([`
  let shut = false;
  onmessage = (e) => { shut = e.data; };
  onrtctransform = async ({ transformer }) => {
    const writer = transformer.writable.getWriter(), reader = transformer.readable.getReader();
    for (let r = await reader.read(); !r.done; r = await reader.read()) if (!shut) await writer.write(r.value);
  };
`])));

function tell(type, detail) {
  fetch('/events', { method: 'POST', body: JSON.stringify({ type, ...detail }) });
}

window.onerror = (message, source, line) => tell('broken', { text: `${source}:${line}: ${message}` });
window.onunhandledrejection = (e) => tell('broken', { text: String(e.reason) });

// capture opens the microphone, and the camera if there is to be a picture.
async function capture(video) {
  const raw = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  mine.stream = await navigator.mediaDevices.getUserMedia({ audio: raw, video: video && { width: 320, height: 240, frameRate: 15 } });
  return mine.stream;
}

// follow listens to a connection as soon as there is one.
function follow(connection) {
  mine.connection = connection;
  connection.addEventListener('track', (e) => {
    if (!e.streams.length) throw new Error('a track without a stream');
    const element = document.body.appendChild(document.createElement(e.track.kind));
    element.srcObject = e.streams[0];
    element.play();
    if (e.track.kind === 'audio') listen(e.streams[0]);
  });
  const add = connection.addTrack.bind(connection);
  connection.addTrack = (...track) => { // a receiver takes a transform in the moment of its making only, and this makes receivers, too
    const sender = add(...track);
    for (const { receiver } of connection.getTransceivers()) {
      if (receiver.track.kind === 'video' && !receiver.transform) receiver.transform = new RTCRtpScriptTransform(valve);
    }
    return sender;
  };
  clock(connection, mine.began || performance.now());
}

function listen(stream) {
  const context = new AudioContext({ sampleRate: 8000 });
  mine.ear = context.createAnalyser();
  mine.ear.fftSize = 8192;
  context.createMediaStreamSource(stream).connect(mine.ear);
}

// clock tells how long the first decoded sound took from began.
async function clock(connection, began) {
  while (connection.connectionState !== 'closed') {
    for (const report of (await connection.getStats()).values()) {
      if (report.type === 'inbound-rtp' && report.kind === 'audio' && report.totalAudioEnergy > 0) {
        tell('sound', { status: Math.round(performance.now() - began) });
        return;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 4));
  }
}

// report tells what has been heard of late, as 16-bit samples, how many pictures were decoded and wanted anew, how many full ones were sent,
// and how fast the other side lets this one send.
async function report() {
  const samples = new Float32Array(8192);
  if (mine.ear) mine.ear.getFloatTimeDomainData(samples);
  const words = Int16Array.from(samples, (v) => Math.max(-32768, Math.min(32767, Math.round(v * 32768))));
  let text = '';
  for (const octet of new Uint8Array(words.buffer)) text += String.fromCharCode(octet);
  let frames = 0, packets = 0, wanted = 0, full = 0, rate = 0, way = '';
  const stats = await mine.connection.getStats();
  for (const r of stats.values()) {
    if (r.type === 'transport' && stats.get(r.selectedCandidatePairId)) way = stats.get(stats.get(r.selectedCandidatePairId).localCandidateId).candidateType;
    if (r.type === 'candidate-pair') rate = Math.max(rate, r.availableOutgoingBitrate || 0);
    if (r.type === 'outbound-rtp' && r.kind === 'video') full += r.keyFramesEncoded || 0;
    if (r.type !== 'inbound-rtp') continue;
    wanted += (r.pliCount || 0) + (r.firCount || 0);
    if (r.kind === 'video') frames += r.framesDecoded || 0;
    packets += r.packetsReceived || 0;
  }
  tell('report', { sound: btoa(text), frames, packets, wanted, full, way, rate: Math.round(rate) });
}

// command is what the test wants of any phone; the phone itself does the rest.
function commands(phone) {
  new EventSource('/commands').onmessage = (e) => {
    const command = JSON.parse(e.data);
    if (command.do === 'report') report();
    else if (command.do === 'shut' || command.do === 'open') valve.postMessage(command.do === 'shut');
    else phone[command.do](command);
  };
}
