node {
  roles = ["signaling"]
}
media {
  ng = ["127.0.0.1:2223", "0.0.0.0:5060", "[::1]:20000"]
}
