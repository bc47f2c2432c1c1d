def test_an_upload_is_in_a_followers_feed_when_it_returns(client, auth):
    assert client.put("/v1/accounts/8", headers=auth(8)).status_code == 201
    assert client.put("/v1/accounts/me/following/8", headers=auth(9)).status_code == 204
    post = client.post("/v1/posts", json={"photo_url": "https://img.example/1.jpg"}, headers=auth(8))
    assert post.status_code == 201
    assert client.get("/v1/feed", headers=auth(9)).json["data"] == [post.json]
