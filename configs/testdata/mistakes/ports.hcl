media {
  ports = "20001-20100"
}
