dialplan "acme" {}
user "alice" {
  forward { busy = user.bob }
  forward { busy = user.bob }
}
user "bob" {
  forward {
    no_answer = user.carol
    allways   = user.alice
  }
  otherwise { go = user.alice }
}
user "carol" {
  timeout = "11m"
  forward { always = reject.busy }
  otherwise { go = reject.nope }
}
reject "busy" { status = 200 }
reject "nope" { status = 999 }
ring "r" {
  extension = "200"
  members   = [user.alice, user.bob]
  timeout   = "20s"
  delays    = { "user.bob" = "20s", "user.carol" = "5s", "user.alice" = 5 }
}
ring "s" {
  extension = "210"
  members   = [user.alice]
  strategy  = "random"
  delays    = { "user.alice" = "5s" }
}
