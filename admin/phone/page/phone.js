// The phone's page: what a person sees and presses. line.js speaks SIP, meters.js listens, rings.js makes the tones.

import { Line } from './line.js';
import { Meters, devices } from './meters.js';
import { Rings } from './rings.js';

const $ = (id) => document.getElementById(id);
const rings = new Rings();
let line = null; // signed in
let call = null; // the call that is shown; others are refused as busy
let meters = null;
let ticking = null;

// ---- views

function show(view) {
  $('frame').dataset.view = view;
}

function state(kind, text) {
  $('line').dataset.state = kind;
  $('line').textContent = text;
}

function notice(text) {
  $('notice').textContent = text;
  $('notice').hidden = !text;
}

function idle() {
  document.title = 'Tandem phone';
  show(line ? 'phone' : 'login');
  recent();
}

// ---- signing in

const kept = {
  get: (name) => { try { return JSON.parse(localStorage.getItem(`tandem.${name}`)); } catch { return null; } },
  set: (name, value) => { try { localStorage.setItem(`tandem.${name}`, JSON.stringify(value)); } catch { /* a private window keeps nothing */ } },
};

// fragment reads #user:password or #user:password@domain: never sent to a server, and taken off the address bar.
function fragment() {
  const text = decodeURIComponent(location.hash.slice(1));
  if (!text.includes(':')) return null;
  history.replaceState(null, '', location.pathname);
  const [, user, password, domain] = /^([^:]+):(.*?)(?:@([^@]+))?$/.exec(text) ?? [];
  return user ? { user, password, domain: domain || location.hostname } : null;
}

async function signIn(account) {
  notice('');
  state('wait', 'signing in …');
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
  let more = null;
  try {
    const asked = await fetch(`phone/account`, { headers: { Authorization: basic(`${account.user}@${account.domain}`, account.password) } });
    if (asked.ok) more = await asked.json();
    else if (asked.status === 401 || asked.status === 403) {
      state('off', 'not connected');
      notice(`Signing in failed: ${(await asked.text()).trim()}.`);
      return;
    }
  } catch { /* the WebSocket will say what is wrong */ }
  kept.set('account', { user: account.user, domain: account.domain });
  line = new Line({
    ...account,
    user: more?.user ?? account.user,
    display: more?.display ?? '',
    url: `${scheme}://${location.host}/ws`,
    ice: more?.ice ?? [],
  }, {
    registered: () => { state('on', account.user); notice(''); },
    lost: (text) => state('wait', text),
    refused: (text) => { notice(`Signing in failed: ${text}.`); signOut(); },
    incoming,
  });
  services(more?.services ?? []);
  show('phone');
  $('number').focus();
}

function basic(name, password) {
  return 'Basic ' + btoa(String.fromCharCode(...new TextEncoder().encode(`${name}:${password}`)));
}

function signOut() {
  line?.stop();
  line = null;
  state('off', 'not connected');
  idle();
}

// ---- calls

function dial(number, video) {
  number = number.trim();
  if (!number || call || !line) return;
  notice('');
  // Only the user part of a number: spaces and brackets are for people.
  const target = /^[\d\s()+*#.-]+$/.test(number) ? number.replace(/[\s().-]/g, '') : number;
  begin(line.call(target, { ...media(), video: video && cameraWish() }), target, 'out');
}

function incoming(c) {
  if (call) {
    c.refuse(486);
    return;
  }
  begin(c, c.peer, 'in');
  $('caller').textContent = c.display ? `${c.display} (${c.peer})` : c.peer;
  $('answer-video').hidden = !c.offersVideo;
  document.title = `☎ ${c.peer}`;
  show('ringing');
  $('answer').focus();
  rings.ring();
}

function begin(c, peer, way) {
  call = c;
  const entry = { peer, way, at: Date.now(), answered: false };
  let since = 0;
  $('peer').textContent = peer;
  $('progress').textContent = way === 'out' ? 'calling …' : '';
  $('quality').textContent = '';
  $('pictures').hidden = true;
  $('tones').hidden = true;
  for (const id of ['mute', 'hold', 'keys', 'picture']) $(id).setAttribute('aria-pressed', 'false');
  $('picture').hidden = true;
  if (way === 'out') show('talk');
  c.on = {
    ringing: (early) => {
      $('progress').textContent = 'ringing …';
      if (!early) rings.back();
    },
    answered: () => {
      rings.stop();
      entry.answered = true;
      since = Date.now();
      document.title = peer;
      show('talk');
      $('hangup').focus();
    },
    heard: (stream) => {
      rings.stop(); // early media is better than a tone of our own
      $('sound').srcObject = new MediaStream(stream.getAudioTracks());
      speaker();
    },
    seen: (stream) => {
      $('theirs').srcObject = new MediaStream(stream.getVideoTracks());
      $('pictures').hidden = false;
    },
    local: (stream) => {
      if (stream.getVideoTracks().length) {
        $('mine').srcObject = stream;
        $('pictures').hidden = false;
        $('picture').hidden = false;
      }
    },
    held: (us, them) => {
      $('hold').setAttribute('aria-pressed', String(us));
      $('progress').dataset.held = us ? 'on hold' : them ? 'they hold you' : '';
    },
    problem: notice,
    ended: (text) => {
      rings.stop();
      clearInterval(ticking);
      meters?.stop();
      meters = null;
      for (const id of ['sound', 'theirs', 'mine']) $(id).srcObject = null;
      call = null;
      remember(entry);
      if (text) notice(text);
      idle();
    },
  };
  meters = new Meters(c, (level) => {
    $('level-in').value = level.in;
    $('level-out').value = level.out;
    $('quality').textContent = level.text;
  });
  delete $('progress').dataset.held;
  ticking = setInterval(() => {
    if (since) $('progress').textContent = [$('progress').dataset.held, clock(Date.now() - since)].filter(Boolean).join(' · ');
  }, 500);
}

function clock(ms) {
  const s = Math.floor(ms / 1000);
  return `${Math.floor(s / 60)}:${String(s % 60).padStart(2, '0')}`;
}

function press(id, run) {
  $(id).addEventListener('click', () => {
    const on = $(id).getAttribute('aria-pressed') !== 'true';
    $(id).setAttribute('aria-pressed', String(on));
    run(on);
  });
}

// ---- lists

function entry(label, note, run) {
  const item = document.createElement('li');
  const button = document.createElement('button');
  const small = document.createElement('small');
  button.type = 'button';
  button.append(label, small);
  small.textContent = note;
  button.addEventListener('click', run);
  item.append(button);
  return item;
}

const kinds = { echo: 'hear yourself', music: 'music', ring: 'ring group', conference: 'conference', voicemail: 'voicemail', queue: 'queue', menu: 'menu' };

function services(list) {
  $('services').replaceChildren(...list.map((s) => entry(s.number, kinds[s.kind] ?? s.kind, () => dial(s.number, false))));
  $('services-box').hidden = !list.length;
}

function remember(e) {
  kept.set('recent', [e, ...(kept.get('recent') ?? []).filter((o) => o.peer !== e.peer)].slice(0, 8));
}

function recent() {
  const list = kept.get('recent') ?? [];
  $('recent').replaceChildren(...list.map((e) => {
    const when = new Date(e.at).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
    const how = e.answered ? (e.way === 'in' ? 'called you' : 'called') : (e.way === 'in' ? 'missed' : 'no answer');
    return entry(e.peer, `${how} ${when}`, () => dial(e.peer, false));
  }));
  $('recent-box').hidden = !list.length;
}

// ---- sound and picture

function media() {
  const id = $('microphone').value;
  return { audio: id ? { deviceId: id } : true };
}

function cameraWish() {
  const id = $('camera').value;
  return id ? { deviceId: id } : true;
}

function speaker() {
  const id = $('speaker').value;
  if (id && $('sound').setSinkId) $('sound').setSinkId(id).catch(() => notice('That speaker cannot be used.'));
}

async function fillDevices() {
  const found = await devices();
  for (const [id, kind] of [['microphone', 'audioinput'], ['speaker', 'audiooutput'], ['camera', 'videoinput']]) {
    const chosen = $(id).value;
    const options = found.filter((d) => d.kind === kind && d.deviceId).map((d) => new Option(d.label || 'unnamed', d.deviceId));
    $(id).replaceChildren(new Option('as the system has it', ''), ...options);
    $(id).value = options.some((o) => o.value === chosen) ? chosen : '';
  }
  $('speaker-box').hidden = !('setSinkId' in HTMLMediaElement.prototype);
}

function pad(id, run) {
  $(id).replaceChildren(...'123456789*0#'.split('').map((key) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = key;
    button.addEventListener('click', () => run(key));
    return button;
  }));
}

// ---- beginning

$('login').addEventListener('submit', (e) => {
  e.preventDefault();
  signIn({ user: $('user').value.trim(), password: $('password').value, domain: $('domain').value.trim() });
});
$('dial').addEventListener('submit', (e) => { e.preventDefault(); dial($('number').value, false); });
$('video').addEventListener('click', () => dial($('number').value, true));
$('answer').addEventListener('click', () => { rings.stop(); call?.answer(media()); });
$('answer-video').addEventListener('click', () => { rings.stop(); call?.answer({ ...media(), video: cameraWish() }); });
$('decline').addEventListener('click', () => call?.refuse(603));
$('hangup').addEventListener('click', () => call?.hangup());
$('leave').addEventListener('click', signOut);
$('speaker').addEventListener('change', speaker);
$('settings').addEventListener('toggle', fillDevices);
$('transfer').addEventListener('submit', (e) => {
  e.preventDefault();
  const to = $('transfer-to').value.trim();
  if (to) call?.transfer(to);
  $('transfer-to').value = '';
});
press('mute', (on) => call?.mute(on));
press('hold', (on) => call?.hold(on));
press('picture', (on) => call?.hide(on));
press('keys', (on) => { $('tones').hidden = !on; });
pad('pad', (key) => { $('number').value += key; $('number').focus(); });
pad('tones', (key) => call?.digit(key));
document.addEventListener('keydown', (e) => {
  if (call && $('frame').dataset.view === 'talk' && e.target === document.body && /^[\d*#]$/.test(e.key)) call.digit(e.key);
});
window.addEventListener('beforeunload', () => { call?.hangup(); line?.stop(); });

(async () => {
  const before = kept.get('account');
  $('user').value = before?.user ?? '';
  $('domain').value = before?.domain ?? location.hostname;
  const about = await fetch('phone/about').then((r) => r.json()).catch(() => ({}));
  $('about').textContent = about.version ? `Tandem ${about.version}` : '';
  if (!window.isSecureContext) {
    const way = about.https ? ` Open https://${location.hostname}:${about.https}/ instead.` : '';
    notice(`Browsers give a microphone to encrypted pages only.${way}`);
  }
  const account = fragment();
  if (account) signIn(account);
})();
