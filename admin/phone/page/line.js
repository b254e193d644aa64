// One registered account and its calls, on JsSIP.

import JsSIP from 'jssip';

// What SIP says, for people; otherwise its own words are shown.
const said = {
  400: 'the server did not understand the call', 401: 'the password was not accepted', 403: 'that is not allowed', 404: 'nobody has that number',
  407: 'the password was not accepted', 408: 'nobody answered', 480: 'not reachable at the moment', 484: 'the number is incomplete', 486: 'busy',
  487: '', 488: 'no common sound or picture format', 500: 'the server has a problem', 503: 'the service is not available just now', 600: 'busy', 603: 'declined',
};

function reason(e) {
  const code = e.message?.status_code;
  if (code in said) return said[code];
  if (code) return `${code} ${e.message.reason_phrase}`;
  switch (e.cause) {
    case JsSIP.C.causes.USER_DENIED_MEDIA_ACCESS: return 'the browser gave no microphone: allow it for this page';
    case JsSIP.C.causes.BYE: case JsSIP.C.causes.CANCELED: return '';
    case JsSIP.C.causes.CONNECTION_ERROR: return 'the connection to the server is lost';
    case JsSIP.C.causes.REQUEST_TIMEOUT: return 'the server does not answer';
    default: return String(e.cause ?? '');
  }
}

export class Line {
  constructor(account, on) {
    this.account = account;
    this.on = on;
    this.ua = new JsSIP.UA({
      sockets: [new JsSIP.WebSocketInterface(account.url)],
      uri: `sip:${encodeURIComponent(account.user)}@${account.domain}`,
      password: account.password,
      display_name: account.display || undefined,
      register_expires: 600,
      connection_recovery_min_interval: 1,
      connection_recovery_max_interval: 15,
    });
    this.ua.on('registered', () => on.registered());
    this.ua.on('disconnected', () => on.lost('connection lost, trying again …'));
    this.ua.on('registrationFailed', (e) => {
      if (e.response) on.refused(reason({ message: e.response, cause: e.cause }));
      else on.lost('the server does not answer, trying again …');
    });
    this.ua.on('newRTCSession', ({ originator, session }) => {
      if (originator === 'remote') on.incoming(new Call(session, this));
    });
    this.ua.start();
  }

  // options are what a session begins with. The server is at a fixed address and finds our candidates by their packets, so nothing is waited for.
  options(media) {
    return {
      mediaConstraints: { audio: media.audio ?? true, video: media.video ?? false },
      pcConfig: { iceServers: this.account.ice.map(({ urls, username, credential }) => ({ urls, username, credential })), bundlePolicy: 'max-bundle' },
    };
  }

  call(target, media) {
    const to = target.includes('@') || target.startsWith('sip:') ? target : `sip:${encodeURIComponent(target).replaceAll('%2B', '+')}@${this.account.domain}`;
    return new Call(this.ua.call(to, this.options(media)), this);
  }

  stop() {
    this.ua.stop();
  }
}

// Call is one session. Who shows it sets `on` before anything can happen.
export class Call {
  constructor(session, line) {
    this.session = session;
    this.line = line;
    this.on = {};
    this.peer = session.remote_identity.uri.user ?? String(session.remote_identity.uri);
    this.display = session.remote_identity.display_name ?? '';
    const tell = (name, ...args) => this.on[name]?.(...args);
    let early = false;
    session.on('icecandidate', (e) => e.ready());
    session.on('progress', (e) => { if (e.originator === 'remote') tell('ringing', early); });
    session.on('accepted', () => tell('answered'));
    session.on('hold', () => this.tellHold());
    session.on('unhold', () => this.tellHold());
    session.on('failed', (e) => tell('ended', e.originator === 'local' && e.cause === JsSIP.C.causes.CANCELED ? '' : sentence(reason(e))));
    session.on('ended', (e) => tell('ended', sentence(reason(e))));
    session.on('getusermediafailed', (e) => tell('problem', `No microphone or camera: ${e.message ?? e}.`));
    const watch = (pc) => {
      pc.addEventListener('track', ({ track, streams }) => {
        const stream = streams[0] ?? new MediaStream([track]);
        if (track.kind === 'video') tell('seen', stream);
        else {
          early = true;
          tell('heard', stream);
        }
      });
      pc.addEventListener('connectionstatechange', () => {
        if (pc.connectionState === 'failed') tell('problem', 'No sound gets through: the network between here and the server drops it.');
      });
      const local = () => {
        const tracks = pc.getSenders().map((s) => s.track).filter(Boolean);
        if (tracks.length) tell('local', new MediaStream(tracks));
      };
      pc.addEventListener('signalingstatechange', local);
    };
    if (session.connection) watch(session.connection);
    else session.on('peerconnection', (e) => watch(e.peerconnection));
  }

  get connection() { return this.session.connection; }

  get offersVideo() { return /^m=video [1-9]/m.test(this.session._request?.body ?? ''); }

  answer(media) {
    this.session.answer(this.line.options(media));
  }

  refuse(code) {
    if (!this.session.isEnded()) this.session.terminate({ status_code: code });
  }

  hangup() {
    if (!this.session.isEnded()) this.session.terminate();
  }

  mute(on) {
    if (on) this.session.mute({ audio: true });
    else this.session.unmute({ audio: true });
  }

  hide(on) {
    if (on) this.session.mute({ video: true });
    else this.session.unmute({ video: true });
  }

  hold(on) {
    const done = on ? this.session.hold() : this.session.unhold();
    if (!done) this.tellHold(); // not possible now: show what is
  }

  tellHold() {
    const { local, remote } = this.session.isOnHold();
    this.on.held?.(local, remote);
  }

  digit(key) {
    this.session.sendDTMF(key, { transportType: 'RFC2833', duration: 120 });
  }

  transfer(to) {
    this.session.refer(to.includes('@') ? to : `sip:${encodeURIComponent(to)}@${this.session.remote_identity.uri.host}`, {
      eventHandlers: {
        failed: () => this.on.problem?.('The transfer was refused.'),
        accepted: () => this.hangup(),
      },
    });
  }
}

function sentence(text) {
  return text ? text[0].toUpperCase() + text.slice(1) + '.' : '';
}
