dialplan "acme" {}
user "alice" {
  extension = "201"
  voicemail = true
}
ring "sales" {
  extension = "200"
  strategy  = "longest_idle"
  members   = [user.alice]
  otherwise { go = queue.sales }
}
ring "night" {
  extension = "210"
  members   = [user.alice]
  otherwise { go = open("office") ? user.alice : ring.sales }
}
ring "far" {
  extension = "220"
  members   = [user.alice]
  otherwise { go = cheapest(user.alice) }
}
