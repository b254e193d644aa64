node {
  name  = 1
  roles = "media"
}
sip {
  udp             = [5060]
  tcp             = [["0.0.0.0:5060"]]
  shards          = "4"
  advertise       = ["203.0.113.10"]
  server_name     = null
  follow_redirects = "true"
  read_timeout    = 10
}
cluster {
  bootstrap = 1
}
limits {
  headers = 1.5
  calls   = -5
}
