"""Claims as five identity providers issue them in access tokens, shortened to what authorisation looks at."""

from typing import Any

KEYCLOAK: dict[str, Any] = {
    "iss": "https://id.example.com/realms/shop",
    "aud": ["orders", "account"],
    "sub": "f1c5b2a0-7d0e-4f7e-9c64-1f6f0a4e2b11",
    "typ": "Bearer",
    "azp": "web",
    "acr": "1",
    "realm_access": {"roles": ["offline_access", "admin", "uma_authorization"]},
    "resource_access": {"orders": {"roles": ["write"]}, "account": {"roles": ["manage-account"]}},
    "scope": "openid email profile",
    "email_verified": True,
    "preferred_username": "alice",
}
AUTH0: dict[str, Any] = {
    "iss": "https://example.eu.auth0.com/",
    "aud": ["https://orders.example.com", "https://example.eu.auth0.com/userinfo"],
    "sub": "auth0|5f7c8ec7c33c6c004bbafe82",
    "azp": "my_client_id",
    "scope": "openid profile orders:write",
    "permissions": ["orders:read", "orders:write"],
    "https://example.com/roles": ["admin"],
    "https://example.com/app_metadata": {"tenant": "acme"},
}
ENTRA_ID: dict[str, Any] = {
    "iss": "https://login.microsoftonline.com/9122040d-6c67-4c5b-b112-36a304b66dad/v2.0",
    "aud": "6e74172b-be56-4843-9ff4-e66a39bb12e3",
    "sub": "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ",
    "oid": "00000000-0000-0000-66f3-3332eca7ea81",
    "tid": "9122040d-6c67-4c5b-b112-36a304b66dad",
    "azpacr": "0",
    "scp": "Orders.Read Orders.Write",
    "roles": ["Orders.Admin"],
    "groups": ["3a6a3b0e-6a41-4f5d-b8f2-58a8d2a3d6a1"],
    "ver": "2.0",
}
COGNITO: dict[str, Any] = {
    "iss": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_example",
    "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
    "token_use": "access",
    "client_id": "xxxxxxxxxxxxexample",
    "scope": "aws.cognito.signin.user.admin orders/write",
    "cognito:groups": ["admin", "ops"],
    "custom:plan": "pro",
    "username": "janedoe@example.com",
}
OKTA: dict[str, Any] = {
    "iss": "https://example.okta.com/oauth2/default",
    "aud": "api://default",
    "sub": "alice@example.com",
    "cid": "nmdP1fcyvdVO11AL7ECm",
    "uid": "00ugrenMeqvZEtBvs0h7",
    "scp": ["openid", "orders.write"],
    "groups": ["Everyone", "admin"],
}
