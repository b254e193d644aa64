media {
  single_port = 20004
}
