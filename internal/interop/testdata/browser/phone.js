// A JsSIP phone that does what its test says: commands come as server-sent events from /commands, what happens goes back to
// /events, one JSON object each. modules.js, written by the test's server, holds JsSIP's modules as functions by path.
'use strict';

const loaded = {};

// resolve finds the module that the module at path `from` calls `name`, as Node does.
function resolve(from, name) {
  if (!name.startsWith('.')) return mains[name];
  const parts = from.split('/').slice(0, -1);
  for (const part of name.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '.') parts.push(part);
  }
  const path = parts.join('/');
  return [path, path + '.js', path + '/index.js'].find((p) => p in modules);
}

function load(path) {
  if (!(path in loaded)) {
    const module = (loaded[path] = { exports: {} });
    modules[path].call(module.exports, module, module.exports, (name) => {
      const found = resolve(path, name);
      if (!found) throw new Error(`${path} requires ${name}, which modules.js does not have`);
      return load(found);
    });
  }
  return loaded[path].exports;
}

// talk follows a session, ours or theirs.
function talk(session) {
  if (session.connection) follow(session.connection); // a call of ours has one before it is told
  else session.on('peerconnection', (e) => follow(e.peerconnection));
  session.on('icecandidate', (e) => e.ready()); // the node needs none of them
  session.on('confirmed', () => tell('confirmed', {}));
  session.on('ended', (e) => tell('ended', { text: e.cause }));
  session.on('failed', (e) => tell('failed', { status: e.message && e.message.status_code, text: e.cause }));
  return session;
}

function start(JsSIP, account) {
  const phone = new JsSIP.UA({
    sockets: [new JsSIP.WebSocketInterface(account.url)],
    uri: account.uri, password: account.password, register_expires: 600, session_timers: false,
  });
  phone.on('connected', () => tell('connected', {}));
  phone.on('disconnected', (e) => tell('disconnected', { text: e.reason }));
  phone.on('registered', (e) => tell('registered', { status: e.response.status_code }));
  phone.on('unregistered', () => tell('unregistered', {}));
  phone.on('registrationFailed', (e) => tell('refused', { status: e.response && e.response.status_code, text: e.cause }));
  phone.on('newMessage', (e) => {
    if (e.originator === 'remote') tell('message', { peer: e.request.from.uri.toString(), text: e.request.body });
  });
  let session;
  const pcConfig = account.ice ? { iceServers: account.ice, iceTransportPolicy: 'relay' } : { iceServers: [] };
  phone.on('newRTCSession', async (e) => {
    session = talk(e.session);
    if (e.originator === 'local') return;
    session.answer({ mediaStream: mine.stream || (await capture(account.video === 'yes')), pcConfig });
  });
  commands({
    stop: () => phone.stop(),
    hangup: () => session.terminate(),
    async call({ to }) {
      const mediaStream = await capture(account.video === 'yes');
      mine.began = performance.now();
      phone.call(to, { mediaStream, pcConfig });
    },
    message({ to, text }) {
      phone.sendMessage(to, text, {
        contentType: 'text/plain',
        eventHandlers: {
          succeeded: (e) => tell('delivered', { status: e.response.status_code }),
          failed: (e) => tell('undelivered', { status: e.response && e.response.status_code, text: e.cause }),
        },
      });
    },
  });
  phone.start();
}

fetch('/account').then((r) => r.json()).then((account) => start(load(mains.jssip), account));
