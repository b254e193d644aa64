// A SIP.js phone that does what its test says; see phone.js.
import { Inviter, Registerer, SessionState, UserAgent, Web } from '/node_modules/sip.js/lib/index.js';

const account = await (await fetch('/account')).json();
const uri = UserAgent.makeURI(account.uri);
let session;

// talk follows a session, ours or theirs.
function talk(s) {
  session = s;
  s.stateChange.addListener((state) => {
    if (state === SessionState.Established) tell('confirmed', {});
    if (state === SessionState.Terminated) tell('ended', {});
  });
  s.delegate = { onSessionDescriptionHandler: (handler) => follow(handler.peerConnection) };
}

const options = { constraints: { audio: true, video: account.video === 'yes' } };
const agent = new UserAgent({
  uri,
  transportOptions: { server: account.url },
  authorizationUsername: uri.user,
  authorizationPassword: account.password,
  logBuiltinEnabled: false,
  sessionDescriptionHandlerFactory: Web.defaultSessionDescriptionHandlerFactory(async (wanted) => mine.stream || capture(wanted.video)),
  sessionDescriptionHandlerFactoryOptions: { iceGatheringTimeout: 20, peerConnectionConfiguration: { iceServers: [] } },
  delegate: {
    onInvite: (invitation) => {
      talk(invitation);
      invitation.accept({ sessionDescriptionHandlerOptions: options });
    },
  },
});
const registerer = new Registerer(agent, { expires: 600 });

commands({
  async call({ to }) {
    await capture(options.constraints.video);
    mine.began = performance.now();
    talk(new Inviter(agent, UserAgent.makeURI(to), { sessionDescriptionHandlerOptions: options }));
    session.invite({ requestDelegate: { onReject: (r) => tell('failed', { status: r.message.statusCode, text: r.message.reasonPhrase }) } });
  },
  hangup: () => session.bye(),
  stop: () => agent.stop(),
});

await agent.start();
await registerer.register({ requestDelegate: { onAccept: (r) => tell('registered', { status: r.message.statusCode }) } });
