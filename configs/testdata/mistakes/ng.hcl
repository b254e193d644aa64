media {
  ng = ["0.0.0.0:2223", "127.0.0.1", "localhost:2223"]
  ng_allow = ["10.0.0.5/24", "0.0.0.0/0", "proxy.example"]
}
